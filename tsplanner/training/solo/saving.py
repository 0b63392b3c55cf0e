"""Files that a run saves: checkpoints during the run, and weights, whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tsplanner.planner.plan import Plan
from tsplanner.training import distributed

CHECKPOINTS = "checkpoints"


def weights_folder(plan: Plan) -> str:
    """Name of the folder of the trained weights."""
    return "adapter" if plan.learning.method.finetuning_type.uses_adapter else "model"


def save_weights(trainer: Any, plan: Plan, folder: Path, name: str | None = None) -> Path:
    """Save the trained weights as <folder>/adapter or <folder>/model, and return that folder.

    The new folder replaces an older one by a rename, so a crash never leaves half of the weights.
    """
    final = folder / (name or weights_folder(plan))
    fresh, old = folder / f".{final.name}.new", folder / f".{final.name}.old"
    if distributed.is_main():
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)
    # No process may write into the new folder before the leftovers are gone.
    distributed.barrier()
    trainer.save_model(str(fresh))  # all processes take part, because ZeRO-3 gathers the shards
    distributed.barrier()
    if distributed.is_main():
        # Trainer writes its arguments as a pickle, which can run code; plan.json has all settings.
        (fresh / "training_args.bin").unlink(missing_ok=True)
        if final.exists():
            # A folder cannot be renamed onto one that holds files, so the old one is moved first.
            final.rename(old)
        fresh.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    distributed.barrier()
    return final


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint: Trainer writes trainer_state.json as its last file."""
    whole = [path.parent for path in (folder / CHECKPOINTS).glob("checkpoint-*/trainer_state.json")]
    return max(whole, key=lambda path: int(path.name.rsplit("-", 1)[1]), default=None)
