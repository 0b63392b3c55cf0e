"""``tsplanner train``: the full run of a plan, and going on with one that was cut off."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from memory_models.device import Machine
from tsplanner import runs
from tsplanner.commands.full_run import (
    FullRun,
    outcome_lines,
    run_document,
    start_full_run,
)
from tsplanner.commands.with_plan import (
    add_force_argument,
    add_plan_argument,
)
from tsplanner.errors import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, TsplannerError
from tsplanner.planner.files import find_plan, method_name, read_plan
from tsplanner.planner.plan import Plan
from tsplanner.probe.preflight import refuse_what_has_no_room
from tsplanner.training.job import Status

EPILOG = """examples:
  tsplanner train --plan saves/tiny-chatts/plan.json
  tsplanner train --run-folder saves/tiny-chatts/lora/20261122-1 --resume
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
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
    add_force_argument(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def from_arguments(namespace: argparse.Namespace) -> int:
    """Call `run` with what was parsed."""
    return run(
        plan_path=namespace.plan,
        saves=namespace.saves,
        run_folder=namespace.run_folder,
        resume=namespace.resume,
        force=namespace.force,
        as_json=namespace.json,
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
    """Train a plan to its end; 0 if it got there, 1 otherwise, 130 if interrupted.

    ``here`` stands in for this machine.
    """
    plan, found = plan_and_folder(plan_path, saves, run_folder, resume=resume)
    refuse_what_has_no_room(plan, here, force=force)
    folder = found or runs.create_run_folder(saves, plan.model.name, method_name(plan))
    folder.mkdir(parents=True, exist_ok=True)
    full = FullRun(plan=plan, folder=folder, saves=saves, resume=resume, shown=not as_json)
    try:
        record = start_full_run(full)
    except KeyboardInterrupt:
        print(f"\nInterrupted. Go on with  tsplanner train --run-folder {folder} --resume")
        return EXIT_INTERRUPTED
    if as_json:
        print(json.dumps(run_document(full, record), indent=2))
    else:
        print("\n".join(outcome_lines(full, record)))
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
