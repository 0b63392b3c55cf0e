"""``tsplanner doctor``: which parts of the environment work here, and how to fix the rest."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tsplanner.errors import EXIT_FAILURE, EXIT_OK
from tsplanner.hardware.environment import Check, EnvironmentFacts, State, read_facts
from tsplanner.hardware.environment_checks import run_checks
from tsplanner.settings import state_folder

HELP = "check Python, driver, libraries and limits of this machine"

_MARKS = {State.OK: ("✔", "+", "green"), State.WARN: ("!", "!", "yellow")}
_OPTIONAL_MARK = ("!", "!", "yellow")
_FAILURE_MARK = ("✘", "x", "red")
_NAME_WIDTH = 15


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def from_arguments(namespace: argparse.Namespace) -> int:
    """Run with parsed flags; the exit status."""
    return run(json=namespace.json)


def run(*, json: bool, facts: EnvironmentFacts | None = None) -> int:
    """Print every check and return 0, or 1 if a part that training needs is missing or broken.

    ``facts`` replace those of this machine.
    """
    checks = run_checks(read_facts(Path()) if facts is None else facts)
    ok = not any(check.fails for check in checks)
    if json:
        print(_document(checks, ok))
    else:
        _print_lines(checks, ok)
    return EXIT_OK if ok else EXIT_FAILURE


def _document(checks: tuple[Check, ...], ok: bool) -> str:
    """The checks as one JSON document, with ``ok`` for all of them and where the state lies."""
    import msgspec

    document = {"ok": ok, "checks": checks, "state_folder": str(state_folder())}
    return msgspec.json.format(msgspec.json.encode(document)).decode()


def _mark(check: Check) -> tuple[str, str, str]:
    """The sign of a check, its ASCII substitute, and its color."""
    if check.fails or check.state is State.BROKEN:
        return _FAILURE_MARK
    return _MARKS.get(check.state, _OPTIONAL_MARK)


def _print_lines(checks: tuple[Check, ...], ok: bool) -> None:
    """Print one line per check with what to do below it; a pipe gets no colors."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    plain = not console.encoding.lower().startswith("utf")
    for check in checks:
        sign, substitute, color = _mark(check)
        line = Text(substitute if plain else sign, style=color)
        line.append(f" {check.name:<{_NAME_WIDTH}}", style="bold").append(check.found, style="")
        console.print(line)
        if check.fix:
            console.print(Text(f"  {'':<{_NAME_WIDTH}}fix: {check.fix}", style="dim"))
    where = f"  {'state':<{_NAME_WIDTH}}{state_folder()}  (tsplanner state lists it)"
    console.print(Text(where, style="dim"))
    console.print()
    if ok:
        console.print(Text("Ready: plan, probe, tune and train can run here.", style="green"))
    else:
        names = ", ".join(check.name for check in checks if check.fails)
        console.print(Text(f"Not ready to train: fix {names} first. Plans work.", style="red"))
