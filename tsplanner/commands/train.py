"""``tsplanner train``: the full run of a plan, and going on with one that was cut off."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import field
from pathlib import Path

from memory_models.device import Machine
from memory_models.frozen import frozen
from memory_models.units import MIB, counted
from tsplanner import install, runs
from tsplanner.commands.options import (
    add_force_argument,
    add_plan_argument,
    add_random_weights_argument,
)
from tsplanner.commands.views.bars import step_bar
from tsplanner.commands.views.run import outcome_lines, print_random_weights, run_document
from tsplanner.console import command
from tsplanner.errors import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, TsplannerError
from tsplanner.planner.files import find_plan, method_name, read_plan, write_plan
from tsplanner.planner.plan import Plan
from tsplanner.probe.launch import cpu_threads
from tsplanner.probe.preflight import refuse_what_has_no_room
from tsplanner.probe.runner import Server, run_job
from tsplanner.report.files import write_run_report
from tsplanner.report.text import duration
from tsplanner.training.job import Job, JobKind, Status
from tsplanner.training.record import Record
from tsplanner.trust import add_trust_argument

EPILOG = """examples:
  tsplanner train --plan saves/tiny-chatts/plan.json
  tsplanner train --run-folder saves/tiny-chatts/lora/20261122-1 --resume
"""
CHECKPOINTS_AT_ONCE = 3
"""Two kept and one being written."""
BYTES_PER_TRAINED_PARAMETER = 12
"""fp32 weight and Adam's two moments; the gradient is not saved."""
SMALL_FILES_BYTES = 64 * MIB


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.epilog = EPILOG
    add_plan_argument(parser)
    parser.add_argument(
        "--run-folder",
        type=Path,
        metavar="FOLDER",
        help="where to train [a new folder saves/<model>/<method>/<date>-<n>]",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the last checkpoint of --run-folder (or of this plan's newest run)",
    )
    add_random_weights_argument(parser)
    add_force_argument(parser)
    add_trust_argument(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


@frozen
class TrainOptions:
    """What a person asks of a full run."""

    plan_path: Path | None = None
    """None: the newest plan under ``saves``."""
    saves: Path = runs.SAVES
    run_folder: Path | None = None
    """None: a new folder; of a resumed run the newest one."""
    resume: bool = False
    force: bool = False
    """Train even where less memory is free than the plan needs, or files changed since."""
    random_weights: bool = False
    """Train a model that has no weights from random ones."""
    as_json: bool = False


def from_arguments(namespace: argparse.Namespace) -> int:
    """Call `train` with what was parsed."""
    return train(
        TrainOptions(
            plan_path=namespace.plan,
            saves=namespace.saves,
            run_folder=namespace.run_folder,
            resume=namespace.resume,
            force=namespace.force,
            random_weights=namespace.random_weights,
            as_json=namespace.json,
        )
    )


def run(
    *,
    plan_path: Path | None = None,
    saves: Path = runs.SAVES,
    run_folder: Path | None = None,
    resume: bool = False,
    force: bool = False,
    as_json: bool = False,
    here: Machine | None = None,
) -> int:
    """Train a plan of a model that has weights; see `train`."""
    options = TrainOptions(
        plan_path=plan_path,
        saves=saves,
        run_folder=run_folder,
        resume=resume,
        force=force,
        as_json=as_json,
    )
    return train(options, here)


def train(options: TrainOptions, here: Machine | None = None) -> int:
    """Train a plan to its end; 0 if it got there, 1 otherwise, 130 if interrupted.

    ``here`` stands in for this machine.
    """
    install.require("train", install.TRAINING)
    plan, found = plan_and_folder(
        options.plan_path, options.saves, options.run_folder, resume=options.resume
    )
    # A run that is refused must leave no folder, so this comes before one is made. A run that is
    # resumed was started with the flag, or before there was one.
    allowed = options.random_weights or options.resume
    refuse_what_has_no_room(plan, here, force=options.force, random_weights=allowed)
    as_json = options.as_json
    print_random_weights(plan, shown=not as_json)
    name = plan.model.name
    folder = found or runs.create_run_folder(options.saves, name, method_name(plan))
    folder.mkdir(parents=True, exist_ok=True)
    full = FullRun(
        plan=plan, folder=folder, saves=options.saves, resume=options.resume, shown=not as_json
    )
    try:
        record = start_full_run(full)
    except KeyboardInterrupt:
        again = command("train", "--run-folder", folder, "--resume")
        print(f"\nInterrupted. Go on with  {again}")
        return EXIT_INTERRUPTED
    if as_json:
        print(json.dumps(run_document(folder, record), indent=2))
    else:
        print("\n".join(outcome_lines(plan, folder, record)))
    return EXIT_OK if record.status is Status.OK else EXIT_FAILURE


def plan_and_folder(
    plan_path: Path | None, saves: Path, run_folder: Path | None, *, resume: bool
) -> tuple[Plan, Path | None]:
    """The plan to train and the folder for it; None: a new one.

    Raises TsplannerError for a folder that holds a run already (without --resume) or holds none
    (with it).
    """
    if run_folder is None and resume:
        run_folder = newest_run(plan_path, saves)
    if run_folder is None:
        return find_plan(plan_path, saves)[0], None
    used = (run_folder / "job.json").is_file()
    if used and not resume:
        raise TsplannerError(
            f"{run_folder} holds a run already: add --resume to go on with it, or leave out "
            "--run-folder to start another."
        )
    if resume and not used:
        raise TsplannerError(f"{run_folder} holds no run to resume: leave out --resume.")
    if resume:
        # What is resumed is what was started, whatever plan.json outside says by now.
        return read_plan(run_folder / runs.PLAN_FILE), run_folder
    return find_plan(plan_path, saves)[0], run_folder


def newest_run(plan_path: Path | None, saves: Path) -> Path:
    """The run of this plan's model and method that was started last."""
    plan, _ = find_plan(plan_path, saves)
    parent = saves / runs.slug(plan.model.name) / method_name(plan)
    started = list(parent.glob("*/job.json"))
    if not started:
        raise TsplannerError(f"No run under {parent} to resume: leave out --resume.")
    return max(started, key=lambda path: path.stat().st_mtime_ns).parent


@frozen
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
    words = f"train  {counted(plan.dataset.lengths.rows_kept, 'row')}, {counted(epochs, 'epoch')}"
    title = f"{words}, about {duration(plan.time.total_seconds)}"
    with step_bar(title, plan.time.total_steps, shown=run.shown) as on_metrics:
        record = run_job(job, time_limit_seconds=None, on_metrics=on_metrics, server=run.server)
    if record.status is Status.OK:
        # A run that ended otherwise is resumed from its checkpoints.
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    write_run_report(folder, run.saves, run.remarks)
    return record
