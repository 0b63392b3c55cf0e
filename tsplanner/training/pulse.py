"""Signs of life of a worker, in a small file of its folder that the parent looks at. No torch.

A worker whose process exists may stand still all the same: stopped by a signal, frozen by its
container, or waiting for another process that will not come.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from memory_models.frozen import frozen
from tsplanner.folders.leftovers import temporary_name

PULSE_FILE = "pulse"
"""First part of the file's hidden name, which goes on as that of a temporary file does: what a
killed worker leaves is found by it."""
BETWEEN_SECONDS = 0.5
"""Shortest time between two beats that are written; a step may take a millisecond."""
SIZE = 64
"""Bytes of the file, which is written in place in one call."""


class Phase(StrEnum):
    """What a worker does; how long it may be silent depends on it."""

    LOAD = "load"
    """Loading the model and reading the rows: one piece of work without a beat in it."""
    STEP = "step"
    EVALUATE = "evaluate"
    SAVE = "save"
    """Writing weights or a checkpoint, as long as the disk takes."""
    DONE = "done"
    """The record is written, and only the end of the process is left."""


@frozen
class Beat:
    """What the file says."""

    pid: int
    """The worker's process, of several the first."""
    count: int
    phase: Phase


class Pulse:
    """Writes the beats of one worker."""

    def __init__(self, folder: Path, *, writes: bool = True) -> None:
        """``writes`` False: another process of the run does it, or nobody looks."""
        self._path, self._writes = temporary_name(folder / PULSE_FILE), writes
        self._phase, self._count, self._written = Phase.LOAD, 0, float("-inf")
        self._handle: int | None = None

    def beat(self) -> None:
        """Give a sign of life, unless one was written a moment ago."""
        if self._writes and time.monotonic() - self._written >= BETWEEN_SECONDS:
            self._write()

    def enter(self, phase: Phase) -> None:
        """Begin another kind of work."""
        self._phase = phase
        if self._writes:
            self._write()

    @contextlib.contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        """Do another kind of work, and go back to the one at hand."""
        before = self._phase
        self.enter(phase)
        try:
            yield
        finally:
            self.enter(before)

    def _write(self) -> None:
        self._count, self._written = self._count + 1, time.monotonic()
        text = f"{os.getpid()} {self._count} {self._phase}".encode().ljust(SIZE - 1) + b"\n"
        # A disk that is full ends the run elsewhere, with a sentence.
        with contextlib.suppress(OSError):
            if self._handle is None:
                self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
            os.lseek(self._handle, 0, os.SEEK_SET)
            os.write(self._handle, text)


def pulse_files(folder: Path) -> list[Path]:
    """The files of beats in a folder: of one worker at most, unless an earlier one was killed."""
    return sorted(folder.glob(f".{PULSE_FILE}.*"))


def read_beat(folder: Path) -> Beat | None:
    """The newest beat of a folder's worker; None if there is none that can be read."""
    for path in pulse_files(folder):
        with contextlib.suppress(OSError, ValueError):
            pid, count, phase = path.read_text(encoding="ascii").split()
            return Beat(pid=int(pid), count=int(count), phase=Phase(phase))
    return None
