"""What a row says and a template does not write: nothing may vanish without a word."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tsplanner.datasets.records import Conversation, Role, Turn
from tsplanner.datasets.rendering.pieces import Unwritten

END_OF_THOUGHTS = "</think>"
"""What ends the thoughts that a row keeps inside the text of an answer."""


def unwritten(text: str, row: Conversation, tools: list[Any] | None) -> tuple[Unwritten, ...]:
    """What of a row is not found in its rendered text, each kind once."""
    found = {kind: None for turn in row.turns for kind in _of_turn(text, turn)}
    if tools and not all(_is_in(name, text) for name in _tool_names(tools)):
        found[Unwritten.TOOLS] = None
    return tuple(found)


def _of_turn(text: str, turn: Turn) -> Iterator[Unwritten]:
    if not _is_in(turn.content, text):
        answer = turn.content.rpartition(END_OF_THOUGHTS)[2]
        if answer != turn.content and _is_in(answer, text):
            yield Unwritten.THOUGHTS
        else:
            instructs = turn.role in (Role.SYSTEM, Role.DEVELOPER)
            yield Unwritten.SYSTEM if instructs else Unwritten.TURN
    if not _is_in(turn.thoughts, text):
        yield Unwritten.THOUGHTS
    if not all(_is_in(call.name, text) for call in turn.tool_calls):
        yield Unwritten.CALLS


def _is_in(said: str, text: str) -> bool:
    """Whether a text is written, as it is or as JSON, without the white space at its ends."""
    bare = said.strip()
    return bare in text or json.dumps(bare, ensure_ascii=False)[1:-1] in text


def _tool_names(tools: list[Any]) -> Iterator[str]:
    for tool in tools:
        function = tool.get("function", tool) if isinstance(tool, dict) else {}
        yield str(function.get("name", "")) if isinstance(function, dict) else ""
