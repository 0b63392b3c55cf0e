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
        self.turns: list[Span | None] = [None] * len(messages)
        """Where the loops over the turns wrote each turn; None: nowhere."""
        self.generations: list[Span] = []
        """The template's own generation blocks."""
        self._numbers = {id(message): index for index, message in enumerate(messages)}
        self._text = text
        self._mark = next((mark for mark in _MARKS if mark not in text), "")
        self._open: set[int] = set()

    def turn(self, loop: int, *values: Any) -> str:
        """The mark before a round of a loop that writes a turn.

        Without a value, or with one that is no turn: the mark that ends the round before it.
        """
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

    def read(self, marked: str) -> bool:
        """Take the marks out of a text; False, and nothing is kept, if what is left is another."""
        parts = marked.split(self._mark) if self._mark else []
        if "".join(parts[::2]) != self._text:
            return False
        rounds: dict[str, tuple[int, int]] = {}
        blocks: list[int] = []
        at = 0
        for text, mark in zip(parts[::2], parts[1::2], strict=False):
            at += len(text)
            if mark == "(":
                blocks.append(at)
            elif mark == ")":
                self.generations.append((blocks.pop(), at))
            else:
                loop, _, number = mark.partition(":")
                if loop in rounds:
                    self._keep(*rounds.pop(loop), at)
                if number:
                    rounds[loop] = (int(number), at)
        return True

    def _keep(self, turn: int, start: int, end: int) -> None:
        """Keep the longest of a turn's rounds: other loops only count or look for something."""
        known = self.turns[turn] or (0, 0)
        if end - start > known[1] - known[0]:
            self.turns[turn] = (start, end)
