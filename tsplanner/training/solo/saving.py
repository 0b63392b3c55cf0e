"""Files that a run saves: checkpoints during the run, and weights, whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tsplanner.planner.plan import Plan
from tsplanner.training import distributed
from tsplanner.training.solo.tokenizer_files import copy_tokenizer

CHECKPOINTS = "checkpoints"
CARD = "README.md"


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
        # PEFT's card has headings and nothing under them; ours is written once the run is over.
        (fresh / CARD).unlink(missing_ok=True)
        copy_tokenizer(plan, fresh)
        if final.exists():
            # A folder cannot be renamed onto one that holds files, so the old one is moved first.
            final.rename(old)
        fresh.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    distributed.barrier()
    return final


def read_adapter(model: Any, folder: Path) -> None:
    """Give a model of PEFT the saved weights of its adapter."""
    from peft.utils import load_peft_weights, set_peft_model_state_dict

    set_peft_model_state_dict(model, load_peft_weights(str(folder), device="cpu"))


def checkpoint_folder(folder: Path, step: int) -> Path:
    """Where Trainer saves the checkpoint of a step."""
    return folder / CHECKPOINTS / f"checkpoint-{step}"


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; None if there is none."""
    whole = [path for path in (folder / CHECKPOINTS).glob("checkpoint-*") if is_whole(path)]
    return max(whole, key=lambda path: int(path.name.rsplit("-", 1)[1]), default=None)


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint has all that training goes on from.

    Trainer writes trainer_state.json last; and it goes on without a word, and with another curve,
    where the optimizer's states are missing. DeepSpeed keeps states and weights in a folder.
    """
    if not (checkpoint / "trainer_state.json").is_file():
        return False
    if any(checkpoint.glob("global_step*")):
        return True
    states = all((checkpoint / name).is_file() for name in ("optimizer.pt", "scheduler.pt"))
    return states and any(checkpoint.glob("*.safetensors"))


def recover_weights(folder: Path, name: str) -> None:
    """Put weights in their place whose process was killed between the two renames of a save."""
    final, fresh, old = (folder / each for each in (name, f".{name}.new", f".{name}.old"))
    # The old weights are moved away once the new ones are whole, and at no other time.
    if not final.exists() and old.is_dir():
        (fresh if fresh.is_dir() else old).rename(final)
