"""Which of several files was written last, whatever the clock said meanwhile.

A clock that was set back makes a new file look older than the one before. So a file that is to be
the newest of its kind gets a time of change that is later than those of all the others.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

STEP_NS = 1_000_000
"""Distance of two files whose order the clock does not show, ns: file systems keep coarser times
than the call that sets them."""


def changed_ns(path: Path) -> int:
    """When a file changed last, ns since 1970 as the file system says; 0 for one that is gone."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def time_after(path: Path, others: Iterable[Path]) -> int:
    """The time of change of ``path``, or one that is later than those of all the others."""
    latest = max((changed_ns(other) for other in others if other != path), default=0)
    return max(changed_ns(path), latest + STEP_NS)


def make_newest(path: Path, others: Iterable[Path]) -> int:
    """Give a file that was just written a time later than those of the others, and return it."""
    time_ns = time_after(path, others)
    if time_ns != changed_ns(path):
        with contextlib.suppress(OSError):  # a file of another user is read all the same
            os.utime(path, ns=(time_ns, time_ns))
    return time_ns


def newest_of(paths: Iterable[Path]) -> list[Path]:
    """The files from the newest to the oldest."""
    return sorted(paths, key=lambda path: (changed_ns(path), str(path)), reverse=True)
