"""The first line of every verb that uses a plan: which file it is, and how old."""

from __future__ import annotations

import time
from pathlib import Path

UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def plan_line(path: Path, now: float | None = None) -> str:
    """The plan's file and its age."""
    return f"plan   {path}, {age_words(path.stat().st_mtime, time.time() if now is None else now)}"


def age_words(written: float, now: float) -> str:
    """The time since a file was written, in its largest unit."""
    seconds = round(now - written)
    if seconds < 0:
        return "from a time that this clock has not reached"
    size, unit = next((each for each in UNITS if seconds >= each[0]), UNITS[-1])
    count = seconds // size
    return f"{count} {unit}{'' if count == 1 else 's'} old"
