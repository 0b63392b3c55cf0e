"""The edge between the program and a terminal: what may be printed, in which signs, how wide.

Whatever is printed passes through here once, so that no name, row or message of another's making
can steer a terminal, no sign can break an old encoding, and no line is wider than the screen.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import shlex
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO, cast

from tsplanner.errors import shortened, without_passwords

if TYPE_CHECKING:  # imported only where something is drawn
    from rich.console import Console

USUAL_COLUMNS = 80
NARROWEST = 16
"""Columns below which folding would leave no word whole."""
LONGEST_LINE = 4000
"""Characters of a line that a terminal shows: a stranger's may be as long as a file."""
HANGING_SHARE = 0.6
"""The last cell of a row keeps its column if that begins within this share of the screen."""

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)
"""Control characters, and the ones that turn the direction of writing."""
_GAP = r"(?<=[^\s·▁-█]) {2,}(?=[^\s·▁-█])"
"""Between two cells: no dot of a list and no bar stands beside it."""
_PLAIN_SIGNS = {
    **dict.fromkeys("·|│", "|"),
    **dict.fromkeys("–—−━─╺╸", "-"),
    **dict(zip("▁▂▃▄▅▆▇█", ".:-=+*%#", strict=True)),
    **dict.fromkeys("▏▎▍", "."),
    **dict.fromkeys("▌▋▊▉", "#"),
    **{"…": "...", "✔": "+", "✘": "x", "×": "x", "±": "+-", "→": "->", "≤": "<=", "≥": ">="},
    **dict.fromkeys("“”", '"'),
    **dict.fromkeys("‘’", "'"),
    **{"⟦": "[[", "⟧": "]]", "↵": "\\n"},
}
_ERRORS = "tsplanner-plain"


def _plain_signs(error: UnicodeError) -> tuple[str, int]:
    """Plain signs for what an encoding does not have."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_PLAIN_SIGNS.get(sign, "?") for sign in lost), error.end


codecs.register_error(_ERRORS, _plain_signs)


def visible(text: str) -> str:
    """A text whose control characters are spelt out."""
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """As ``visible``, with line breaks and tabs spelt out, too."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def sentence(message: str) -> str:
    """A message as it is printed: names and reasons of others' making may be in it."""
    return shortened(one_line(without_passwords(message)))


def command(*words: object) -> str:
    """A command of tsplanner to paste: a name in it stays one word, whatever it holds."""
    return shlex.join(["tsplanner", *map(str, words)])


def is_plain() -> bool:
    """Whether the user or the terminal wants no styles at all."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") in ("dumb", "unknown")


def bare(stream: TextIO) -> TextIO:
    """The stream behind an edge, for what draws with escape sequences of its own."""
    return cast(TextIO, getattr(stream, "bare", stream))


def rich_console(stream: TextIO, *, wraps: bool = True, drawn: bool | None = None) -> Console:
    """A console of rich for words that are ``visible`` already.

    ``wraps``: rich folds lines itself. ``drawn``: the stream is a terminal, whatever it says.
    """
    from rich.console import Console

    return Console(
        file=bare(stream),
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=not wraps,
        force_terminal=drawn,
        color_system=None if is_plain() else "auto",
    )


def columns(stream: TextIO | None = None) -> int:
    """Columns of the user's terminal; COLUMNS goes before what the system says."""
    with contextlib.suppress(ValueError):
        if (given := int(os.environ.get("COLUMNS", "0"))) > 0:
            return given
    with contextlib.suppress(AttributeError, ValueError, OSError):
        source = sys.__stdout__ if stream is None else stream
        if (found := os.get_terminal_size(source.fileno()).columns) > 0:  # type: ignore[union-attr]
            return found
    return USUAL_COLUMNS


def width(text: str) -> int:
    """Columns that a text takes; Chinese characters take two."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def fold(line: str, most: int) -> list[str]:
    """A line in pieces of at most ``most`` columns.

    Cells of a row are two blanks apart. A cell that begins within the left part of the screen goes
    on under itself; a row without one becomes a short list, with its first cell at the top.
    """
    line = shortened(line, LONGEST_LINE)
    if width(line) <= most or most < NARROWEST:
        return [line]
    body = line.lstrip(" ")
    indent = min(len(line) - len(body), most // 4)
    starts = [found.end() for found in re.finditer(_GAP, body)]
    near = [at for at in starts if indent + width(body[:at]) <= HANGING_SHARE * most]
    if near:
        head = " " * indent + body[: near[-1]]
        return _hung(head, re.sub(_GAP, "  ", body[near[-1] :]), width(head), most)
    if not starts:
        # A sentence that begins at the edge goes on a little to the right of it.
        return _hung(" " * indent, body, indent or 2, most)
    first, lower = body[: starts[0]].rstrip(), " " * (indent + 4)
    return [
        *_hung(" " * indent, first, indent + 2, most),
        *_hung(lower, re.sub(_GAP, "  ", body[starts[0] :]), indent + 4, most),
    ]


def _hung(head: str, text: str, hanging: int, most: int) -> list[str]:
    """``head`` and ``text`` in lines that go on at ``hanging``."""
    lines, current = [], head
    for number, word in enumerate(text.split(" ")):
        if number and width(current) + 1 + width(word) > most:
            lines.append(current.rstrip())
            # A path that would be cut under its column is whole further left, and can be copied.
            current = " " * min(hanging, max(0, most - width(word))) + word
        else:
            current += f"{' ' if number else ''}{word}"
        while width(current) > most:
            cut = _fitting(current, most)
            lines.append(current[:cut])
            current = " " * hanging + current[cut:]
    return [*lines, current.rstrip()]


def _fitting(text: str, most: int) -> int:
    """Characters of a text that fit into ``most`` columns; at least one."""
    used = 0
    for place, sign in enumerate(text):
        used += width(sign)
        if used > most:
            return max(1, place)
    return len(text)


class Edge:
    """A stream that any text may be written to; everything else is the stream's own."""

    def __init__(self, stream: TextIO, *, folds: bool) -> None:
        """``folds``: lines keep within the width of a terminal."""
        self.bare = stream
        self._folds = folds and stream.isatty()

    def write(self, text: str) -> int:
        """Write a text with its control characters spelt out."""
        shown = visible(text)
        if self._folds and len(shown) > NARROWEST:
            most = columns(self.bare)
            shown = "\n".join(
                piece for line in shown.split("\n") for piece in fold(line.expandtabs(), most)
            )
        self.bare.write(shown)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bare, name)


@contextlib.contextmanager
def edges(*, folds: bool) -> Iterator[None]:
    """Put an edge before stdout and stderr. A JSON document must not fold: it stays one value."""
    before = sys.stdout, sys.stderr
    for stream in before:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_ERRORS)
    sys.stdout = cast(TextIO, Edge(before[0], folds=folds))
    sys.stderr = cast(TextIO, Edge(before[1], folds=True))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
