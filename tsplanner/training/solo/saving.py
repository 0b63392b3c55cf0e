"""What a run leaves on disk: its checkpoints while it lasts, its weights whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tsplanner.planner.plan import Plan
from tsplanner.training import distributed

CHECKPOINTS = "checkpoints"


def weights_folder(plan: Plan) -> str:
    """Name of the folder the trained weights go to."""
    return "adapter" if plan.learning.method.finetuning_type.uses_adapter else "model"


def save_weights(trainer: Any, plan: Plan, folder: Path, name: str | None = None) -> Path:
    """Save what was trained as <folder>/adapter (or model), replacing it in one rename."""
    final = folder / (name or weights_folder(plan))
    fresh, old = folder / f".{final.name}.new", folder / f".{final.name}.old"
    if distributed.is_main():
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)
    distributed.barrier()
    trainer.save_model(str(fresh))  # every rank: ZeRO-3 gathers its shards
    distributed.barrier()
    if distributed.is_main():
        (fresh / "training_args.bin").unlink(missing_ok=True)  # a pickle; plan.json says it all
        if final.exists():
            final.rename(old)
        fresh.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    distributed.barrier()
    return final


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; trainer_state.json is the last file of one to be written."""
    whole = [path.parent for path in (folder / CHECKPOINTS).glob("checkpoint-*/trainer_state.json")]
    return max(whole, key=lambda path: int(path.name.rsplit("-", 1)[1]), default=None)
