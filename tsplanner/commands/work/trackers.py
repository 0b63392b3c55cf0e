"""Where a full run may report to while it trains: trackers that Trainer itself knows."""

from __future__ import annotations

import argparse
from enum import StrEnum

from tsplanner import install
from tsplanner.errors import TsplannerError, did_you_mean

NONE = "none"


class Tracker(StrEnum):
    """By the name that Trainer has for it."""

    TENSORBOARD = "tensorboard"
    """Writes into ``tensorboard/`` of the run folder."""
    WANDB = "wandb"
    """Sends to where its own variables say; nothing is sent offline (WANDB_MODE=offline)."""
    TRACKIO = "trackio"
    """Keeps a local database."""


def trackers(text: str) -> tuple[Tracker, ...]:
    """``none``, or names separated by commas."""
    names = [word.strip() for word in text.split(",") if word.strip()]
    if names == [NONE]:
        return ()
    for name in names:
        if name not in list(Tracker):
            near = did_you_mean(name, [*Tracker, NONE])
            raise argparse.ArgumentTypeError(f'"{name:.40}" is none of {", ".join(Tracker)}{near}')
    if not names:
        raise argparse.ArgumentTypeError(f"give {', '.join(Tracker)} or {NONE}")
    return tuple(Tracker(name) for name in dict.fromkeys(names))


def add_trackers_argument(parser: argparse.ArgumentParser) -> None:
    """The flag of the verbs that end in a full run."""
    parser.add_argument(
        "--report-to",
        type=trackers,
        default=(),
        metavar="NAMES",
        help=f"{', '.join(Tracker)} (the full run, as it trains), or {NONE} [{NONE}]",
    )


def require_trackers(wanted: tuple[str, ...]) -> None:
    """Raise TsplannerError if the package of one is not installed."""
    for name in install.missing(wanted):
        raise TsplannerError(
            f"--report-to {name} needs the package {name}: {install.package_command(name)}, or "
            "leave the flag out."
        )
