"""A progress bar for a dataset that takes a while to read."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from memory_models.units import counted
from tsplanner.console import is_plain, rich_console

SHOWN_AFTER_SECONDS = 1.0
REDRAWN_SECONDS = 0.1


class ScanBar:
    """Told how far the reading is; draws itself once that has taken a second, and goes at the end.

    It stands on stderr, so that a redirected stdout shows it, too. rich is imported only then.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._began = self._drawn = clock()
        self._bar: Any = None

    def __enter__(self) -> ScanBar:
        """Begin."""
        return self

    def __call__(self, done: int, total: int, rows: int) -> None:
        """Bytes done, bytes in all, rows so far."""
        now = self._clock()
        seconds = now - self._began
        if seconds < SHOWN_AFTER_SECONDS or now - self._drawn < REDRAWN_SECONDS:
            return
        self._drawn = now
        if self._bar is None:
            self._bar = self._started(total)
        rate = f"{done / 1e6:,.0f} of {total / 1e6:,.0f} MB  {done / seconds / 1e6:.0f} MB/s"
        self._bar.update(0, completed=done, words=f"{rate}  {counted(rows, 'row')}")
        self._bar.refresh()

    def _started(self, total: int) -> Any:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        bar = Progress(
            TextColumn("reading"),
            BarColumn(20),
            TextColumn("{task.fields[words]}"),
            TimeRemainingColumn(),
            console=rich_console(self._stream, drawn=True),
            transient=True,
            auto_refresh=False,
        )
        bar.add_task("", total=total, words="")
        bar.start()
        return bar

    def __exit__(self, *_: object) -> None:
        """Leave nothing behind."""
        if self._bar is not None:
            self._bar.stop()


class _NoBar(ScanBar):
    """Nobody looks."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def __call__(self, done: int, total: int, rows: int) -> None:
        """Draw nothing."""


def scan_bar(*, shown: bool) -> ScanBar:
    """A bar if it is wanted and stderr is a terminal that can draw one."""
    drawn = shown and sys.stderr.isatty() and not is_plain()
    return ScanBar(sys.stderr) if drawn else _NoBar()
