"""Marks in a rendered text, which say where each turn and each generation block lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any


_MARKS = [chr(code) for code in range(0xFDD0, 0xFDF0)]
"""Code points that Unicode keeps for such use inside a program; no text should hold them."""

Span = tuple[int, int]
"""Start and end of a part of a text, in characters; the end is not included."""


class Marker:
    """Gives marks to a template that renders, and reads them out of its text."""

    def __init__(self, messages: Sequence[Mapping[str, Any]], text: str) -> None:
        """``text``: what the template renders without marks."""
        self._numbers = {id(message): index for index, message in enumerate(messages)}
        self._text = text
        self._mark = next((mark for mark in _MARKS if mark not in text), "")
        self._open: set[int] = set()
        self.turns: dict[int, list[Span]] = {}
        """Where the loops over the turns wrote something, by the number of the turn."""
        self.generations: list[Span] = []
        """The template's own generation blocks."""
        self.loops_end = 0
        """End of the last round of a loop over the turns."""

    def turn(self, loop: int, *values: Any) -> str:
        """The mark before a round of a loop; without a value, or with one that is no turn, the mark
        that ends the round before it."""
        number = next((self._numbers[id(v)] for v in values if id(v) in self._numbers), None)
        if number is not None:
            self._open.add(loop)
            return f"{self._mark}{loop}:{number}{self._mark}"
        # Other loops write no mark: a template may trim what they wrote.
        if loop in self._open:
            self._open.remove(loop)
            return f"{self._mark}{loop}:{self._mark}"
        return ""

    def generation(self, caller: Callable[[], str]) -> str:
        """The text of a generation block between marks."""
        return f"{self._mark}({self._mark}{caller()}{self._mark}){self._mark}"

    def read(self, marked: str) -> None:
        """Take the marks out of a text; nothing is kept if what is left is another text."""
        if not self._mark:
            return
        parts = marked.split(self._mark)
        if "".join(parts[::2]) != self._text:
            return
        open_turns: dict[str, tuple[int, int]] = {}
        open_generations: list[int] = []
        at = 0
        for text, mark in zip(parts[::2], [*parts[1::2], None], strict=True):
            at += len(text)
            if mark is None:
                break
            if mark == "(":
                open_generations.append(at)
            elif mark == ")":
                self.generations.append((open_generations.pop(), at))
            else:
                loop, _, number = mark.partition(":")
                if loop in open_turns:
                    index, start = open_turns.pop(loop)
                    if at > start:
                        self.turns.setdefault(index, []).append((start, at))
                        self.loops_end = max(self.loops_end, at)
                if number:
                    open_turns[loop] = (int(number), at)
