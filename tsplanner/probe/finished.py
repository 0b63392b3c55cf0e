"""Whether a run folder holds a full run that is over, with the weights that it trained."""

from __future__ import annotations

from pathlib import Path

from memory_models.frozen import frozen
from tsplanner.console import command
from tsplanner.errors import TsplannerError
from tsplanner.planner.plan import Plan
from tsplanner.probe.process_records import read_record
from tsplanner.training.job import ANSWERS_FILE, JobKind, Status
from tsplanner.training.record import Record

RUN_FILES = (
    ANSWERS_FILE,
    "adapter",
    "model",
    "merged",
    "checkpoints",
    "metrics.jsonl",
    "record.json",
    "values.jsonl",
    "versions.json",
    "report.html",
    "report.md",
    "report.zh-CN.html",
    "report.zh-CN.md",
    "worker.log",
)
"""What a full run makes in its folder, its plan apart."""


@frozen
class FinishedRun:
    """A full run that came to its end."""

    folder: Path
    record: Record
    weights: Path
    """The folder of the trained adapter or model."""


def weights_name(plan: Plan) -> str:
    """Name of the folder of the trained weights."""
    return "adapter" if plan.learning.method.finetuning_type.uses_adapter else "model"


def is_over(folder: Path) -> bool:
    """Whether a full run in a folder came to its end; False if it was cut off, failed or is new."""
    record = read_record(folder)
    return record is not None and record.kind is JobKind.TRAIN and record.status is Status.OK


def has_checkpoint(folder: Path) -> bool:
    """Whether a run has kept a checkpoint to go on from."""
    return any(folder.glob("checkpoints/checkpoint-*/trainer_state.json"))


def finished_run(folder: Path, plan: Plan) -> FinishedRun:
    """The full run that is over in a folder.

    Raises TsplannerError if there is none, or if its weights are not there any more.
    """
    record, weights = read_record(folder), folder / weights_name(plan)
    if record is None or not is_over(folder):
        raise TsplannerError(f"{folder} holds no run that is over.")
    if not weights.is_dir() or not any(weights.iterdir()):
        raise TsplannerError(
            f"{folder} holds a run that is over, and its {weights.name} is gone: train it anew "
            f"with  {command('train', '--run-folder', folder, '--resume', '--force')}"
        )
    return FinishedRun(folder=folder, record=record, weights=weights)
