"""Conversations as the lists of dictionaries that chat templates read."""

from __future__ import annotations

import json
from typing import Any

from memory_models.frozen import frozen
from tsplanner.datasets.records import Fault, Role, ToolCall, Turn
from tsplanner.datasets.rows.fields import RowError

Message = dict[str, Any]


@frozen
class Style:
    """How a template wants to be given what a row says."""

    content_in_parts: bool = False
    """A list of parts in place of a text: templates of models that also see read it."""
    arguments_as_text: bool = False
    """The arguments of a tool call as JSON text in place of an object."""
    numbered_calls: bool = False
    """Calls without an id get one, because the template refuses them without."""
    knows_developer: bool = True
    """Whether the template knows the role; otherwise it is given a system text."""


def messages_of(turns: tuple[Turn, ...], style: Style) -> list[Message]:
    """The turns as a template reads them.

    Raises RowError: the arguments of a tool call are no JSON.
    """
    found: list[Message] = []
    numbers: list[str] = []
    for place, turn in enumerate(turns):
        message = _message(turn, style)
        if style.numbered_calls:
            _number(message, place, numbers)
        found.append(message)
    return found


def _message(turn: Turn, style: Style) -> Message:
    known = turn.role is not Role.DEVELOPER or style.knows_developer
    content: Any = turn.content
    if style.content_in_parts:
        content = [{"type": "text", "text": turn.content}]
    found: Message = {"role": str(turn.role if known else Role.SYSTEM), "content": content}
    if turn.thoughts:
        # Templates know them by either name; transformers fills both.
        found |= {"reasoning_content": turn.thoughts, "thinking": turn.thoughts}
    if turn.tool_calls:
        found["tool_calls"] = [_call(call, style) for call in turn.tool_calls]
    if turn.name:
        found["name"] = turn.name
    if turn.tool_call_id:
        found["tool_call_id"] = turn.tool_call_id
    return found


def _call(call: ToolCall, style: Style) -> Message:
    try:
        arguments = call.arguments if style.arguments_as_text else json.loads(call.arguments)
    except (ValueError, RecursionError) as error:
        reason = f"the arguments of the call of {call.name} are no JSON ({error})"
        raise RowError(reason, Fault.CALL) from error
    found: Message = {
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }
    return found | ({"id": call.id} if call.id else {})


def _number(message: Message, place: int, open_calls: list[str]) -> None:
    """Number the calls of a turn; an answer of a tool gets the number of the first open call."""
    for count, call in enumerate(message.get("tool_calls", ())):
        # Mistral's templates want nine characters.
        call.setdefault("id", f"call{place:03d}{count:02d}")
        open_calls.append(call["id"])
    if message["role"] == Role.TOOL and open_calls:
        message.setdefault("tool_call_id", open_calls[0])
        if message["tool_call_id"] in open_calls:
            open_calls.remove(message["tool_call_id"])
