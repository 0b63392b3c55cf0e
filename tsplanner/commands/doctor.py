"""``tsplanner doctor``: which parts of the environment work here, and how to fix the rest."""

from __future__ import annotations

import argparse
import json as json_text
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

from memory_models.frozen import frozen
from tsplanner.commands.views.screen import Screen
from tsplanner.errors import EXIT_FAILURE, EXIT_OK
from tsplanner.hardware.environment import Check, EnvironmentFacts, State, read_facts
from tsplanner.hardware.environment_checks import run_checks
from tsplanner.install import is_planner_only
from tsplanner.probe.host_link import MeasuredLinks, link_words, measure_links
from tsplanner.settings import state_folder

HELP = "check Python, driver, libraries and limits of this machine"

EPILOG = """examples:
  tsplanner doctor                 as installed: for training, or for planning alone
  tsplanner doctor --for train     what is missing here before anything can be trained

exit status: 0 ready for that purpose, 1 not ready
"""

_MARKS = {State.OK: ("✔", "green"), State.WARN: ("!", "yellow")}
_OPTIONAL_MARK = ("!", "yellow")
_FAILURE_MARK = ("✘", "red")
_NAME_WIDTH = 15


class Purpose(StrEnum):
    """What the environment is checked for."""

    PLAN = "plan"
    TRAIN = "train"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument(
        "--for",
        dest="purpose",
        type=Purpose,
        choices=list(Purpose),
        metavar="plan|train",
        help="what must work here [train, or plan where no training package is installed]",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def from_arguments(namespace: argparse.Namespace) -> int:
    """Run with parsed flags; the exit status."""
    return run(json=namespace.json, purpose=namespace.purpose)


def run(
    *,
    json: bool,
    purpose: Purpose | None = None,
    facts: EnvironmentFacts | None = None,
    measure: Callable[[], MeasuredLinks] = measure_links,
) -> int:
    """Print every check and return 0, or 1 if a part that the purpose needs is missing or broken.

    Without a ``purpose``, an install without any training package is one for planning. ``facts``
    replace those of this machine, and ``measure`` the measurement of its links to the host.
    """
    found = checked(purpose, facts, measure)
    if json:
        print(json_text.dumps(found.document(), indent=2))
    else:
        _print_lines(found)
    return EXIT_FAILURE if found.failing else EXIT_OK


@frozen
class Checked:
    """What was checked, for which purpose, and what of it fails."""

    purpose: Purpose
    checks: tuple[Check, ...]
    failing: tuple[Check, ...]

    def document(self) -> dict[str, Any]:
        """The document of ``--json``."""
        import msgspec

        return {
            "ok": not self.failing,
            "for": self.purpose,
            "checks": msgspec.to_builtins(self.checks),
            "state_folder": str(state_folder()),
        }


def checked(
    purpose: Purpose | None = None,
    facts: EnvironmentFacts | None = None,
    measure: Callable[[], MeasuredLinks] = measure_links,
) -> Checked:
    """Every check of this machine, or of other ``facts``; see `run` for the arguments."""
    facts = read_facts(Path()) if facts is None else facts
    checks = (*run_checks(facts), _link(facts, measure))
    if purpose is None:
        purpose = Purpose.PLAN if is_planner_only(facts.versions) else Purpose.TRAIN
    failing = [each for each in checks if each.fails]
    if purpose is Purpose.PLAN:
        failing = [each for each in failing if each.for_plans]
    return Checked(purpose=purpose, checks=checks, failing=tuple(failing))


def _link(facts: EnvironmentFacts, measure: Callable[[], MeasuredLinks]) -> Check:
    """The links between host and GPUs, measured where there are any; later plans go by them."""
    devices = facts.reading.devices
    measured = measure() if devices else MeasuredLinks()
    known = len(measured.devices) == len(devices)
    return Check(
        name="host link",
        state=State.OK if known else State.WARN,
        found=link_words(devices, measured),
        fix=None if known else "nothing to do: plans go by the datasheet of the slot",
    )


def _mark(check: Check) -> tuple[str, str]:
    """The sign of a check and its color."""
    if check.fails or check.state is State.BROKEN:
        return _FAILURE_MARK
    return _MARKS.get(check.state, _OPTIONAL_MARK)


def _print_lines(found: Checked) -> None:
    """Print one line per check with what to do below it; a pipe gets no colors."""
    screen, failing, purpose = Screen(), found.failing, found.purpose
    for check in found.checks:
        sign, color = _mark(check)
        screen.line(f"{sign} {check.name:<{_NAME_WIDTH}}{check.found}", color)
        if check.fix:
            screen.line(f"  {'':<{_NAME_WIDTH}}fix: {check.fix}", "dim")
    where = f"  {'state':<{_NAME_WIDTH}}{state_folder()}  (tsplanner state lists it)"
    screen.line(where, "dim")
    screen.line()
    names = ", ".join(check.name for check in failing)
    if failing and purpose is Purpose.TRAIN:
        screen.line(f"Not ready to train: fix {names} first. Plans work.", "red")
    elif failing:
        screen.line(f"Not ready to plan: fix {names} first.", "red")
    elif purpose is Purpose.PLAN:
        screen.line("Ready to plan. To train here, too: tsplanner doctor --for train", "green")
    else:
        screen.line("Ready: plan, probe, tune and train can run here.", "green")
