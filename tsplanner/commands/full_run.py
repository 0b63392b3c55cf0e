"""A full run into a run folder, as train and tune both end in."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from memory_models.units import format_gib
from tsplanner import runs
from tsplanner.commands.probe import failure_lines, step_bar
from tsplanner.commands.with_plan import cpu_threads
from tsplanner.planner.files import write_plan
from tsplanner.planner.plan import Plan
from tsplanner.probe.runner import Server, run_job, to_json
from tsplanner.report.files import write_run_report
from tsplanner.report.records.overfitting import overfitting, record_points
from tsplanner.report.text import duration, loss
from tsplanner.training.job import Job, JobKind, Record, Status

CHECKPOINTS_AT_ONCE = 3
"""Two kept and one being written."""
BYTES_PER_TRAINED_PARAMETER = 12
"""fp32 weight and Adam's two moments; the gradient is not saved."""
SMALL_FILES_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class FullRun:
    """What is trained, where to, and how it is started."""

    plan: Plan
    folder: Path
    saves: Path
    resume: bool = False
    shown: bool = True
    """Draw a bar (or say so in a pipe)."""
    server: Server | None = None
    remarks: list[str] = field(default_factory=list)
    """Sentences for the run's report."""


def disk_bytes(plan: Plan) -> int:
    """Bytes a full run may write: checkpoints, and the best and last weights."""
    trained = plan.model.parameters_trainable
    checkpoints = CHECKPOINTS_AT_ONCE * BYTES_PER_TRAINED_PARAMETER * trained
    weights = (
        trained
        if plan.learning.method.finetuning_type.uses_adapter
        else (plan.model.parameters_total)
    )
    return checkpoints + 2 * 4 * weights + SMALL_FILES_BYTES


def start_full_run(run: FullRun) -> Record:
    """Train, and leave plan.json, versions.json and the report next to the weights.

    Raises TsplannerError before anything is started if the disk has no room for it.
    """
    plan, folder = run.plan, run.folder
    runs.require_disk_space(folder, disk_bytes(plan))
    write_plan(plan, folder / runs.PLAN_FILE)
    runs.write_versions(folder)
    job = Job(
        kind=JobKind.TRAIN,
        plan=plan,
        folder=str(folder),
        resume=run.resume,
        threads=cpu_threads(plan),
    )
    epochs = plan.learning.optimization.num_train_epochs
    words = f"train  {plan.dataset.lengths.rows_kept} rows, {epochs} epochs"
    title = f"{words}, about {duration(plan.time.total_seconds)}"
    with step_bar(title, plan.time.total_steps, shown=run.shown) as on_metrics:
        record = run_job(job, time_limit_seconds=None, on_metrics=on_metrics, server=run.server)
    if record.status is Status.OK:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    write_run_report(folder, run.saves, run.remarks)
    return record


def outcome_lines(run: FullRun, record: Record) -> list[str]:
    """What a person reads at the end."""
    if record.status is not Status.OK:
        again = f"tsplanner train --run-folder {run.folder} --resume"
        return [*failure_lines(run.plan, record), f"Next   {again}"]
    best = min(record.evaluations, key=lambda item: item.loss, default=None)
    words = f"eval {loss(best.loss)}   best epoch {best.epoch:.3g}   " if best else ""
    predicted = run.plan.memory.process_bytes.expected
    kept = "adapter" if run.plan.learning.method.finetuning_type.uses_adapter else "model"
    return [
        f"done   {record.steps} steps in {duration(record.seconds)}   {words}"
        f"peak {format_gib(record.process_bytes, unit=True)}, "
        f"predicted {format_gib(predicted, unit=True)}",
        *(f"curve  {words}" for words in overfitting(record_points(record)).sentences),
        f"saved  {run.folder}/   {kept}, plan.json, metrics.jsonl, report.html, report.md",
    ]


def run_document(run: FullRun, record: Record) -> dict[str, Any]:
    """The same as plain values."""
    curve = asdict(overfitting(record_points(record)))
    return {"run_folder": str(run.folder), "record": to_json(record), "curve": curve}
