"""Words for a person: colours on a terminal, the same words in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from tsplanner.console import columns, fold, is_plain, one_line, rich_console


class Screen:
    """Lines on stdout. rich colours them on a terminal; a pipe gets them plain."""

    def __init__(self) -> None:
        self.is_terminal = sys.stdout.isatty()
        self.columns = columns(sys.stdout) if self.is_terminal else None
        """Columns of the terminal; None: a pipe, which has no width."""
        self._console = None
        if self.is_terminal and not is_plain():
            self._console = rich_console(sys.stdout, wraps=False)

    @property
    def has_colours(self) -> bool:
        """Whether styles show; a pipe and a plain terminal get other marks."""
        return self._console is not None

    def styled(self, words: Iterable[tuple[str, str]]) -> None:
        """One line of words in styles of their own; the terminal folds it."""
        if self._console is None:
            self.line("".join(text for text, _ in words))
            return
        from rich.text import Text

        self._console.print(Text.assemble(*((one_line(text), style) for text, style in words)))

    def line(self, words: str = "", style: str = "") -> None:
        """One line, styled on a terminal and folded to its width."""
        if self._console is None:
            print(one_line(words))
            return
        for piece in fold(one_line(words), columns(sys.stdout)):
            self._console.print(piece, style=style or None)


def interactive() -> bool:
    """Whether a person watches stdout (bars and colour), not a pipe."""
    return sys.stdout.isatty() and not is_plain()


def bar(share: float, width: int) -> str:
    """A bar of ``share`` (0..1) of ``width`` characters, in eighths."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


@contextmanager
def trace_status(work: str = "tracing") -> Iterator[Callable[[int, int], None]]:
    """A spinner on stderr for a person, nothing in a pipe; told how many pieces are done."""
    if not sys.stderr.isatty():
        yield lambda done, count: None
        return
    with rich_console(sys.stderr).status("") as status:
        yield lambda done, count: status.update(
            work if count == 1 else f"{work} {done + 1} of {count}"
        )
