"""Notices a worker that stands still, by a limit that follows from what it took so far."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from tsplanner.identity import is_stopped
from tsplanner.training.pulse import Phase, pulse_files, read_beat

LEAST_SECONDS = 60.0
"""No worker is ended for a shorter silence."""
TIMES_LONGEST = 10.0
"""A silence this many times as long as the longest piece of work so far is none of work."""
UNMEASURED_SECONDS = 900.0
"""Limit before the first piece of work of its kind is over: imports, and kernels that are compiled
at the first step, take minutes on a slow disk."""
LONGEST_LOOK_SECONDS = 2.0
"""What one look adds to a silence at most: a parent that was itself stopped saw nothing."""
MEASURED = (Phase.STEP, Phase.EVALUATE)
"""Phases with beats in them; loading and saving take as long as the disk does."""


class WorkerHung(Exception):
    """A worker gave no sign of life for too long; the text is one sentence."""


class StallWatch:
    """Watches the signs of life of one worker."""

    def __init__(
        self,
        folder: Path,
        step_seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        stopped: Callable[[int], bool] = is_stopped,
    ) -> None:
        """``step_seconds``: predicted seconds of an optimizer step."""
        self._folder, self._step_seconds = folder, step_seconds
        self._clock, self._stopped = clock, stopped
        self._looked = clock()
        self._count, self._phase, self._pid = 0, Phase.LOAD, 0
        self._silent = self._stopped_for = self._longest = 0.0
        self._measured: set[Phase] = set()

    def forget(self) -> None:
        """Remove the file, whose worker is over or has not begun."""
        for path in pulse_files(self._folder):
            with contextlib.suppress(OSError):
                path.unlink()

    def look(self) -> None:
        """Take note of a new beat; raises WorkerHung for a silence over the limit."""
        now = self._clock()
        passed, self._looked = min(now - self._looked, LONGEST_LOOK_SECONDS), now
        self._silent += passed
        self._hear()
        halted = bool(self._pid) and self._stopped(self._pid)
        self._stopped_for = self._stopped_for + passed if halted else 0.0
        if self._stopped_for > LEAST_SECONDS:
            raise WorkerHung(self._words(self._stopped_for, "was stopped by a signal and"))
        if (limit := self.limit_seconds()) is not None and self._silent > limit:
            raise WorkerHung(self._words(self._silent, ""))

    def _hear(self) -> None:
        beat = read_beat(self._folder)
        if beat is None or beat.count == self._count:
            return
        if self._count:
            self._longest = max(self._longest, self._silent)
            # Two beats in one phase are a whole piece of its work.
            if beat.phase is self._phase:
                self._measured.add(beat.phase)
        self._count, self._phase, self._pid = beat.count, beat.phase, beat.pid
        self._silent = 0.0

    def limit_seconds(self) -> float | None:
        """Longest silence now; None: as long as it takes."""
        if not self._count:
            return UNMEASURED_SECONDS
        if self._phase is Phase.DONE:
            return LEAST_SECONDS
        if self._phase not in MEASURED:
            return None
        longest = max(self._longest, self._step_seconds)
        least = LEAST_SECONDS if self._phase in self._measured else UNMEASURED_SECONDS
        return max(least, TIMES_LONGEST * longest)

    def _words(self, seconds: float, why: str) -> str:
        process = f"process {self._pid}" if self._pid else "its process"
        longest = f"; its longest piece of work took {self._longest:.0f} s" if self._longest else ""
        return (
            f"the worker ({process}) {why + ' ' if why else ''}gave no sign of life for "
            f"{seconds:.0f} s in the phase {self._phase}{longest}; it was ended"
        )
