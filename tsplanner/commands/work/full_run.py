"""A full run in a folder of its own: its worker, and what it leaves beside the weights."""

from __future__ import annotations

import shutil
from dataclasses import field
from pathlib import Path

from memory_models.frozen import frozen
from memory_models.units import MIB, counted
from tsplanner import runs
from tsplanner.commands.views.bars import step_bar
from tsplanner.commands.work.sampled_answers import sampling_line
from tsplanner.planner.files import read_plan, write_plan
from tsplanner.planner.forecast import BYTES_PER_TRAINED_PARAMETER
from tsplanner.planner.plan import Plan
from tsplanner.planner.steps import epochs_of
from tsplanner.probe.finished import finished_run, is_over, weights_name
from tsplanner.probe.launch import cpu_threads
from tsplanner.probe.runner import Server, run_job
from tsplanner.report.card import write_card
from tsplanner.report.files import write_run_report
from tsplanner.report.page import Remark
from tsplanner.report.records.pace import pace_of
from tsplanner.report.serving import place_in
from tsplanner.report.text import duration
from tsplanner.training.job import Extras, Job, JobKind, Status
from tsplanner.training.record import Record

CHECKPOINTS_AT_ONCE = 3
"""Two kept and one being written."""
SMALL_FILES_BYTES = 64 * MIB


@frozen
class FullRun:
    """What is trained, where to, and how it is started."""

    plan: Plan
    folder: Path
    saves: Path
    resume: bool = False
    anew: bool = False
    """Train a run that is over again from its start."""
    shown: bool = True
    """Draw a bar (or say so in a pipe)."""
    extras: Extras = Extras()
    server: Server | None = None
    remarks: list[Remark] = field(default_factory=list)
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

    A run that is over already by the same settings is not trained again. Raises TsplannerError
    before anything is started if the disk has no room for it.
    """
    folder = run.folder
    record = None if run.anew else _record_of_same(run)
    if record is None:
        record = _train(run)
    if record.status is Status.OK:
        # A run that ended otherwise is resumed from its checkpoints.
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        write_run_card(run.plan, record, folder)
    write_run_report(folder, run.saves, run.remarks)
    return record


def write_run_card(plan: Plan, record: Record, folder: Path) -> None:
    """The card beside the weights of a run that is over; those of its last step get the same."""
    for name in (weights_name(plan), f"{weights_name(plan)}-last"):
        if (folder / name).is_dir():
            write_card(plan, record, folder / name, place_in(plan, folder, name))


def _record_of_same(run: FullRun) -> Record | None:
    """The record of a resumed run that is over, trained with the same learning settings."""
    if not run.resume or not is_over(run.folder):
        return None
    done = finished_run(run.folder, run.plan)
    same = read_plan(run.folder / runs.PLAN_FILE).learning == run.plan.learning
    return done.record if same else None


def _train(run: FullRun) -> Record:
    plan, folder = run.plan, run.folder
    runs.require_disk_space(folder, disk_bytes(plan))
    if run.anew:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    write_plan(plan, folder / runs.PLAN_FILE)
    runs.write_versions(folder)
    job = Job(
        kind=JobKind.TRAIN,
        plan=plan,
        folder=str(folder),
        resume=run.resume and not run.anew,
        threads=cpu_threads(plan),
        extras=run.extras,
    )
    if run.shown and run.extras.samples is not None:
        print(sampling_line(run.extras.samples), flush=True)
    epochs = round(epochs_of(plan.learning, plan.time.steps_per_epoch), 2)
    words = f"train  {counted(plan.dataset.lengths.rows_kept, 'row')}, {counted(epochs, 'epoch')}"
    title = f"{words}, about {duration(plan.time.total_seconds)}"
    with step_bar(title, plan.time.total_steps, shown=run.shown, pace=pace_of(plan)) as on_metrics:
        return run_job(job, time_limit_seconds=None, on_metrics=on_metrics, server=run.server)
