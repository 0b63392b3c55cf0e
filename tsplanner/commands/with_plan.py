"""What the verbs that start from a plan share."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from memory_models.device import Machine
from tsplanner.errors import TsplannerError
from tsplanner.planner.files import read_plan
from tsplanner.planner.plan import Plan, Verdict
from tsplanner.probe.preflight import require_room
from tsplanner.runs import SAVES, latest_plan

SMALL_MODEL_PARAMETERS = 20_000_000
"""Under this a second thread costs more than it does: 1.6 s a step against 1.2 at 2.3 million."""


def add_plan_argument(parser: argparse.ArgumentParser) -> None:
    """--plan and --saves."""
    parser.add_argument(
        "--plan",
        type=Path,
        metavar="FILE",
        help="plan.json to start from (default: the newest under the saves folder)",
    )
    parser.add_argument(
        "--saves",
        type=Path,
        default=SAVES,
        metavar="FOLDER",
        help="folder of all runs (default: %(default)s)",
    )


def add_force_argument(parser: argparse.ArgumentParser) -> None:
    """--force, for what starts a worker."""
    parser.add_argument(
        "--force",
        action="store_true",
        help="start even where less memory is free than the plan needs",
    )


def find_plan(path: Path | None, saves: Path) -> tuple[Plan, Path]:
    """The plan named, or the newest one, and the file it came from.

    A folder stands for the plan.json in it. Raises TsplannerError if there is none.
    """
    file = latest_plan(saves) if path is None else path / "plan.json" if path.is_dir() else path
    return read_plan(file), file


def refuse_what_cannot_fit(plan: Plan) -> None:
    """Raise TsplannerError for a plan whose verdict is that it does not fit."""
    if plan.verdict is Verdict.DOES_NOT_FIT:
        raise TsplannerError(
            f"The plan needs {plan.memory.process_bytes.expected / 2**30:.1f} GiB and "
            f"{plan.free_bytes / 2**30:.1f} GiB are free: make another with tsplanner plan."
        )


def refuse_what_has_no_room(
    plan: Plan, here: Machine | None = None, *, force: bool = False
) -> Machine:
    """This machine as it is now (``here`` stands in for it).

    Raises TsplannerError for a plan that does not fit, or that would not fit now: another process
    holds the memory. ``force`` goes on.
    """
    if not force:
        refuse_what_cannot_fit(plan)
    return require_room(plan, here, force=force)


def cpu_threads(plan: Plan) -> int | None:
    """Threads of each rank of a CPU run that has the machine to itself; None on a GPU: torch's."""
    if plan.hardware.accelerator != "cpu":
        return None
    small = plan.model.parameters_total < SMALL_MODEL_PARAMETERS
    return 1 if small else max(1, plan.machine.host.cpu_count // plan.hardware.sharding.world_size)


def interactive() -> bool:
    """Whether a person watches stdout (bars and colour), not a pipe."""
    return sys.stdout.isatty()
