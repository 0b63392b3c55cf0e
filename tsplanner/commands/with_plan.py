"""What the verbs that start from a plan share."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tsplanner.planner.plan import Plan
from tsplanner.runs import SAVES

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


def cpu_threads(plan: Plan) -> int | None:
    """Threads of each rank of a CPU run that has the machine to itself; None on a GPU: torch's."""
    if plan.hardware.accelerator != "cpu":
        return None
    small = plan.model.parameters_total < SMALL_MODEL_PARAMETERS
    return 1 if small else max(1, plan.machine.host.cpu_count // plan.hardware.sharding.world_size)


def interactive() -> bool:
    """Whether a person watches stdout (bars and colour), not a pipe."""
    return sys.stdout.isatty()
