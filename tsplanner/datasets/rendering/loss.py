"""The pieces of a rendered row: which part of it each turn wrote, and what of that carries loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from os.path import commonprefix
from typing import Any

from memory_models.frozen import frozen
from tsplanner.datasets.records import Role, Turn
from tsplanner.datasets.rendering.answers import answer_of, shared_start
from tsplanner.datasets.rendering.known import KnownTemplate
from tsplanner.datasets.rendering.marks import Marker, Span
from tsplanner.datasets.rendering.pieces import Piece
from tsplanner.datasets.rows.fields import RowError

OTHER = "tsplanner says something else"
"""Stands in the place of a content that is looked for."""
Part = tuple[int, int, int]
"""Start, end and turn of a part of a text; turns are counted from 0."""


@frozen
class MarkedRow:
    """A rendered row, and where its turns lie."""

    text: str
    marker: Marker
    turns: tuple[Turn, ...]
    tools: list[Any] | None


def own_parts(row: MarkedRow, known: KnownTemplate, learned: tuple[bool, ...]) -> Iterator[Part]:
    """What each learned turn says itself: the parts that carry loss.

    Of an answer that is what the template marks as generated. Where it marks nothing: all from the
    end of the prompt to the end of the turn, calls of tools and thoughts included.
    """
    marked = known.template.marks_generation
    if marked:
        yield from (part for part in _generated(row) if learned[part[2]])
    for place, turn in enumerate(row.turns):
        answers, span = turn.role is Role.ASSISTANT, row.marker.turns[place]
        if not learned[place] or (answers and marked):
            continue
        if answers and span:
            yield from _answer(row, place, span, known)
        else:
            yield from _content(row, place, known)


def _generated(row: MarkedRow) -> Iterator[Part]:
    """The generation blocks; one behind all turns belongs to the last answer."""
    answers = [place for place, turn in enumerate(row.turns) if turn.role is Role.ASSISTANT]
    for start, end in row.marker.generations:
        inside = (p for p in answers if (s := row.marker.turns[p]) and s[0] <= start < s[1])
        if answers and end > start:
            yield start, end, next(inside, answers[-1])


def _answer(row: MarkedRow, place: int, span: Span, known: KnownTemplate) -> Iterator[Part]:
    before = row.turns[place - 1].role if place else None
    start, end = answer_of(row.text, span, known.prompts(before))
    for first, last in _inserted(row, place, span, known):
        yield start, max(start, first), place
        start = max(start, last)
    if known.ends_outside and row.text.startswith(known.ends_outside, span[1]):
        end = span[1] + len(known.ends_outside)
    yield start, end, place


def _inserted(row: MarkedRow, place: int, span: Span, known: KnownTemplate) -> Iterator[Span]:
    """What a template writes of the next turn inside an answer, as Gemma 4's of a tool's answer."""
    following = place + 1
    if following == len(row.turns) or row.marker.turns[following]:
        return
    alone, marker = known.render(row.turns[:following], row.tools)
    if own := marker.turns[place]:
        written, alone = row.text[span[0] : span[1]], alone[own[0] : own[1]]
        head = shared_start(written, alone)
        backwards = written[head:][::-1], alone[head:][::-1]
        tail = len(commonprefix(backwards))  # noqa: RUF071 these are texts
        if written[head : len(written) - tail].strip():
            yield span[0] + head, span[1] - tail


def _content(row: MarkedRow, place: int, known: KnownTemplate) -> Iterator[Part]:
    """The content of a turn, found by writing something else in its place.

    Of an answer also the mark that ends it.
    """
    turn = row.turns[place]
    turns = (*row.turns[:place], replace(turn, content=OTHER), *row.turns[place + 1 :])
    try:
        other, _ = known.render(turns, row.tools)
    except RowError:
        return
    start, same, behind = other.partition(OTHER)
    begin, end = len(start), len(row.text) - len(behind)
    if not same or end <= begin or row.text[:begin] != start or row.text[end:] != behind:
        return
    if turn.role is Role.ASSISTANT and row.text.startswith(known.ends, end):
        end += len(known.ends)
    yield begin, end, place


def pieces_of(
    text: str,
    spans: Sequence[Span | None],
    parts: Iterator[Part],
    learned: tuple[bool, ...],
    *,
    whole: bool,
) -> tuple[Piece, ...]:
    """The text in pieces.

    ``spans``: where each turn lies; ``parts``: what carries loss. ``whole``: the rest carries loss
    too, except that of turns which the row takes out.
    """
    turns = [(*span, place) for place, span in enumerate(spans) if span]
    own = sorted(parts)
    cuts = {0, len(text), *(at for part in (*turns, *own) for at in part[:2])}
    found: list[Piece] = []
    in_turn, in_own = _Finder(sorted(turns)), _Finder(own)
    for start, end in pairwise(sorted(cuts)):
        part, turn = in_own.at(start), in_turn.at(start)
        place = part if part is not None else turn
        counts = part is not None or (whole and (place is None or learned[place]))
        found.append(Piece(text=text[start:end], learned=counts, turn=place))
    return tuple(_together(found))


class _Finder:
    """Finds the turn of a place in the text; the places asked for only grow."""

    def __init__(self, parts: list[Part]) -> None:
        self._parts = parts
        self._next = 0

    def at(self, place: int) -> int | None:
        """The turn whose part holds the character at ``place``."""
        while self._next < len(self._parts) and self._parts[self._next][1] <= place:
            self._next += 1
        if self._next < len(self._parts) and self._parts[self._next][0] <= place:
            return self._parts[self._next][2]
        return None


def _together(pieces: list[Piece]) -> Iterator[Piece]:
    """Neighbours of one turn that are alike, as one piece."""
    held: Piece | None = None
    for piece in pieces:
        if held and (held.learned, held.turn) == (piece.learned, piece.turn):
            held = Piece(text=held.text + piece.text, learned=held.learned, turn=held.turn)
            continue
        if held:
            yield held
        held = piece
    if held:
        yield held
