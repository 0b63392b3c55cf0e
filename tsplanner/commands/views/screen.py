"""Words for a person: colours on a terminal, the same words in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Screen:
    """Lines on stdout. rich colours them on a terminal; a pipe gets them plain."""

    def __init__(self) -> None:
        self.is_terminal = sys.stdout.isatty()
        self._console = None
        if self.is_terminal:
            from rich.console import Console

            self._console = Console(highlight=False, soft_wrap=True)

    def line(self, words: str = "", style: str = "") -> None:
        """One line, styled on a terminal."""
        if self._console is None:
            print(words)
        else:
            # Names may hold brackets, which rich would take for markup.
            self._console.print(words, style=style or None, markup=False)


def interactive() -> bool:
    """Whether a person watches stdout (bars and colour), not a pipe."""
    return sys.stdout.isatty()


def bar(share: float, width: int) -> str:
    """A bar of ``share`` (0..1) of ``width`` characters, in eighths."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


@contextmanager
def trace_status() -> Iterator[Callable[[int, int], None]]:
    """A spinner on stderr for a person, nothing in a pipe; told how many traces are done."""
    if not sys.stderr.isatty():
        yield lambda done, count: None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield lambda done, count: status.update(
            "tracing" if count == 1 else f"tracing {done + 1} of {count}"
        )
