"""What a row says and a template does not write: nothing may vanish without a word."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from tsplanner.datasets.records import Conversation, Role, Turn
from tsplanner.datasets.rendering.marks import Span
from tsplanner.datasets.rendering.pieces import Unwritten

END_OF_THOUGHTS = "</think>"
"""What ends the thoughts that a row keeps inside the text of an answer."""


def unwritten(
    text: str,
    row: Conversation,
    spans: Sequence[Span | None] = (),
    without_tools: str | None = None,
) -> tuple[Unwritten, ...]:
    """What of a row is not found in its rendered text, each kind once.

    ``spans``: where each turn lies in the text; empty, or None for a turn: not known.
    ``without_tools``: the text of the same turns without tools, which is another one if their
    definitions are written. None: the row has no tools.
    """
    found: dict[Unwritten, None] = {}
    for place, turn in enumerate(row.turns):
        span = spans[place] if place < len(spans) else None
        # A call's name may stand elsewhere, among the definitions of the tools or in other words.
        own = text if span is None else text[slice(*span)]
        found |= dict.fromkeys(_of_turn(text, turn, own))
    if without_tools == text:
        found[Unwritten.TOOLS] = None
    return tuple(found)


def _of_turn(text: str, turn: Turn, own: str) -> Iterator[Unwritten]:
    if not _is_in(turn.content, text):
        answer = turn.content.rpartition(END_OF_THOUGHTS)[2]
        if answer != turn.content and _is_in(answer, text):
            yield Unwritten.THOUGHTS
        else:
            instructs = turn.role in (Role.SYSTEM, Role.DEVELOPER)
            yield Unwritten.SYSTEM if instructs else Unwritten.TURN
    if not _is_in(turn.thoughts, own):
        yield Unwritten.THOUGHTS
    if not all(_is_in(call.name, own) for call in turn.tool_calls):
        yield Unwritten.CALLS


def _is_in(said: str, text: str) -> bool:
    """Whether a text is written, as it is or as JSON, without the white space at its ends."""
    bare = said.strip()
    return bare in text or json.dumps(bare, ensure_ascii=False)[1:-1] in text
