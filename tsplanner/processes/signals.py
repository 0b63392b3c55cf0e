"""SIGTERM and SIGHUP end a verb as Ctrl-C does: children first, then one sentence and a status."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from tsplanner.errors import EXIT_INTERRUPTED

SIGNALS = tuple(
    number
    for name in ("SIGTERM", "SIGHUP")
    if (number := getattr(signal, name, None)) is not None  # Windows has no SIGHUP
)


class Ended(KeyboardInterrupt):
    """A scheduler's SIGTERM or a closed terminal's SIGHUP."""

    def __init__(self, number: int) -> None:
        super().__init__(f"Ended by {signal.Signals(number).name}")
        self.exit_status = 128 + number


def interrupted_status(error: KeyboardInterrupt) -> int:
    """Exit status of an interruption, as shells count it: 130, of SIGTERM 143, of SIGHUP 129."""
    return error.exit_status if isinstance(error, Ended) else EXIT_INTERRUPTED


def interrupted_words(error: KeyboardInterrupt) -> str:
    """What happened, as the start of a sentence."""
    return str(error) if isinstance(error, Ended) else "Interrupted"


@contextlib.contextmanager
def signals_as_interrupts() -> Iterator[None]:
    """Raise `Ended` in the main thread at the first SIGTERM or SIGHUP; later ones change nothing.

    A signal that was ignored from the start stays so, as ``nohup`` wants it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set what a signal does
        return
    terminals = [number for number in (1, 2) if _is_terminal(number)]
    seen: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        if number != signal.SIGTERM:
            _leave_terminals(terminals)
        if not seen:
            seen.append(number)
            raise Ended(number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    taken = [number for number in SIGNALS if before[number] == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])


def _is_terminal(number: int) -> bool:
    try:
        return os.isatty(number)
    except OSError:
        return False


def _leave_terminals(numbers: list[int]) -> None:
    """Write nowhere from now on: every write to a terminal that was closed raises an error."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in numbers:
            os.dup2(nowhere, number)
        os.close(nowhere)
