"""``tsplanner train``: the full run of a plan, and going on with one that was cut off."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from memory_models.device import Machine
from memory_models.frozen import frozen
from tsplanner import install, runs
from tsplanner.commands.inputs.options import (
    add_force_argument,
    add_plan_argument,
    add_random_weights_argument,
)
from tsplanner.commands.inputs.values import path
from tsplanner.commands.views.interrupted import say_interrupted
from tsplanner.commands.views.plan_file import plan_line
from tsplanner.commands.views.run import (
    finished_line,
    outcome_lines,
    print_random_weights,
    run_document,
    use_lines,
)
from tsplanner.commands.work.full_run import FullRun, disk_bytes, start_full_run
from tsplanner.commands.work.sampled_answers import (
    add_samples_arguments,
    asked_samples,
    begun_with,
    sized,
)
from tsplanner.commands.work.trackers import (
    add_trackers_argument,
    require_trackers,
)
from tsplanner.console import command
from tsplanner.errors import EXIT_FAILURE, EXIT_OK, TsplannerError
from tsplanner.folders.owner import RunFolder, refuse_foreign, refuse_led
from tsplanner.folders.run_order import newest_idle
from tsplanner.planner.files import (
    find_plan,
    folder_of_plan,
    method_name,
    read_plan,
)
from tsplanner.planner.plan import Plan
from tsplanner.probe.finished import (
    RUN_FILES,
    FinishedRun,
    finished_run,
    has_checkpoint,
    is_over,
)
from tsplanner.probe.measured_plan import with_probe
from tsplanner.probe.preflight import refuse_what_has_no_room
from tsplanner.probe.runner import JOB_FILE
from tsplanner.processes.signals import signals_as_interrupts
from tsplanner.training.job import Extras, Status
from tsplanner.trust import add_trust_argument
from tsplanner.tune.study.storage import holds_study

EPILOG = """examples:
  tsplanner train --plan saves/tiny-chatts/plan.json
  tsplanner train --run-folder saves/tiny-chatts/lora/20261122-1 --resume
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.epilog = EPILOG
    add_plan_argument(parser)
    parser.add_argument(
        "--run-folder",
        type=path,
        metavar="FOLDER",
        help="where to train [a new folder saves/<model>/<method>/<date>-<n>]",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the last checkpoint of --run-folder (or of this plan's newest run)",
    )
    add_random_weights_argument(parser)
    add_force_argument(parser, "with --resume, train a run that is over anew")
    parser.add_argument(
        "--no-value-check",
        action="store_true",
        help="do not let a ChatTS model answer held-out rows at the end (a minute at most)",
    )
    add_trackers_argument(parser)
    add_samples_arguments(parser)
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
    extras: Extras = Extras()
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
            extras=Extras(
                check_values=not namespace.no_value_check,
                report_to=tuple(map(str, namespace.report_to)),
                samples=asked_samples(namespace),
            ),
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
    """Train a plan to its end; 0 if it got there, 1 otherwise, 130 (143, 129) if interrupted.

    A run that is over already is left as it is, unless forced. ``here`` stands in for this
    machine.
    """
    install.require("train", install.TRAINING)
    require_trackers(options.extras.report_to)
    plan, file, found = plan_and_folder(
        options.plan_path, options.saves, options.run_folder, resume=options.resume
    )
    as_json, saves = options.as_json, options.saves
    if not as_json:
        print(plan_line(file), flush=True)
    over = found is not None and options.resume and is_over(found)
    if found is not None and over and not options.force:
        done = finished_run(found, plan)
        # Without a report the run was cut off after its last step, and only that is left to do.
        if any(found.glob("report.*")):
            say_finished(done, as_json=as_json)
            return EXIT_OK
    before = begun_with(found) if found is not None and options.resume else None
    samples = sized(plan, options.extras.samples or before)
    # A run that is refused must leave no folder, so this comes before one is made. A run that is
    # resumed was started with the flag, or before there was one.
    allowed = options.random_weights or options.resume
    refuse_what_has_no_room(plan, here, force=options.force, random_weights=allowed)
    own = folder_of_plan(saves, plan)
    runs.require_disk_space(found or own, disk_bytes(plan))
    print_random_weights(plan, shown=not as_json)
    if options.resume and not over and not as_json and not has_checkpoint(found or own):
        print("No checkpoint is there: training begins at its first step.", flush=True)
    with signals_as_interrupts():
        folder = found or runs.create_run_folder(saves, own.name, method_name(plan))
        full = FullRun(
            plan=plan,
            folder=folder,
            saves=saves,
            resume=options.resume,
            anew=over and options.force,
            shown=not as_json,
            extras=replace(options.extras, samples=samples),
        )
        return train_in(full, is_new=found is None, as_json=as_json)


def train_in(full: FullRun, *, is_new: bool, as_json: bool) -> int:
    """Claim the folder, train, and say how it ended; see `train` for the status."""
    try:
        with RunFolder(full.folder, "train", saves=full.saves, is_new=is_new) as claimed:
            # Another process may have trained there between the first look and the claim.
            refuse_used(full.folder, resume=full.resume)
            try:
                record = start_full_run(full)
            except (TsplannerError, KeyboardInterrupt):
                if not (full.folder / JOB_FILE).is_file():
                    claimed.undo(FIRST_FILES)
                raise
    except KeyboardInterrupt as error:
        again = command("train", "--run-folder", full.folder, "--resume")
        begun = (full.folder / JOB_FILE).is_file()
        return say_interrupted(
            error, f"Go on with  {again}" if begun else "Nothing had begun.", as_json=as_json
        )
    if as_json:
        print(json.dumps(run_document(full.folder, record), indent=2))
    else:
        found = outcome_lines(full.plan, full.folder, record)
        print("\n".join([*found, *use_lines(full.plan, full.folder, record)]))
    return EXIT_OK if record.status is Status.OK else EXIT_FAILURE


def say_finished(done: FinishedRun, *, as_json: bool) -> None:
    """Print that a run is over, and where its weights are."""
    if as_json:
        document = run_document(done.folder, done.record) | {"already_finished": True}
        print(json.dumps(document, indent=2))
    else:
        print(finished_line(done))


def plan_and_folder(
    plan_path: Path | None, saves: Path, run_folder: Path | None, *, resume: bool
) -> tuple[Plan, Path, Path | None]:
    """The plan to train, its file, and the folder to train in; None: a new one.

    Raises TsplannerError for a folder that another process writes into, that holds a run already
    (without --resume) or holds none (with it).
    """
    if run_folder is None and resume:
        run_folder = newest_run(plan_path, saves)
    if run_folder is None:
        plan, file = find_plan(plan_path, saves)
        return with_probe(plan, file), file, None
    refuse_led(run_folder)
    refuse_used(run_folder, resume=resume)
    used = (run_folder / JOB_FILE).is_file()
    if not used and holds_study(run_folder):
        raise TsplannerError(
            f"{run_folder} holds a search: go on with  "
            + command("tune", "--run-folder", run_folder, "--resume")
        )
    if resume and not used:
        raise TsplannerError(f"{run_folder} holds no run to resume: leave out --resume.")
    if resume:
        # What is resumed is what was started, whatever plan.json outside says by now.
        file = run_folder / runs.PLAN_FILE
        return read_plan(file), file, run_folder
    refuse_foreign(run_folder, RUN_FILES)
    plan, file = find_plan(plan_path, saves)
    return with_probe(plan, file), file, run_folder


def refuse_used(folder: Path, *, resume: bool) -> None:
    """Raise TsplannerError for a folder with a run in it that nobody asked to resume."""
    if (folder / JOB_FILE).is_file() and not resume:
        raise TsplannerError(
            f"{folder} holds a run already: add --resume to go on with it, or leave out "
            "--run-folder to start another."
        )


def newest_run(plan_path: Path | None, saves: Path) -> Path:
    """The run of this plan's model and method that was begun or resumed last.

    A run at work counts only where all are. Raises TsplannerError if there is none.
    """
    plan, _ = find_plan(plan_path, saves)
    parent = folder_of_plan(saves, plan) / method_name(plan)
    newest = newest_idle(path.parent for path in parent.glob(f"*/{JOB_FILE}"))
    if newest is None:
        raise TsplannerError(f"No run under {parent} to resume: leave out --resume.")
    return newest


FIRST_FILES = (runs.PLAN_FILE, "versions.json")
"""What a run leaves before its worker starts."""
