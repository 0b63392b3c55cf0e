"""The wish of somebody outside that a worker end after the step at hand."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from tsplanner.training import distributed


class StopSwitch:
    """Set by SIGTERM, SIGINT or a file named stop in the job's folder."""

    def __init__(self) -> None:
        self.file: Path | None = None
        self.signalled = False
        self.agreed = False
        """Whether all processes have agreed to stop."""
        self.last_words: Callable[[], object] = lambda: None
        """Writes the record of a process that will not return from a collective."""

    def install(self) -> None:
        """Let SIGTERM and SIGINT end the run after the current step."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        if distributed.world_size() > 1:
            distributed.on_signals(
                lambda: distributed.leave_soon(1, self.last_words, lambda: self.agreed)
            )

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signalled = True

    def asked(self) -> bool:
        """Whether this process was asked to end; it may ask alone, and others may not know."""
        return self.signalled or (self.file is not None and self.file.exists())

    def __call__(self) -> bool:
        """Whether the run should end; all processes ask together and get the same answer."""
        self.agreed = distributed.any_process(self.asked())
        return self.agreed
