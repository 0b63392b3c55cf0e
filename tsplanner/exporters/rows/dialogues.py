"""Conversations as the dialogues that each trainer reads: with roles, tools and what is learned."""

from __future__ import annotations

import json
from itertools import takewhile

from tsplanner.datasets.records import Conversation, LossOn, Role, Turn
from tsplanner.datasets.rendering.pieces import is_learned
from tsplanner.errors import TsplannerError


def trl(row: Conversation, loss_on: LossOn) -> dict[str, object]:
    """A row of ``messages``; with loss on the last answer alone ``prompt`` and ``completion``."""
    said = _messages(row)
    if loss_on is not LossOn.LAST:
        return {"messages": said, **_tools(row)}
    place = max(place for place, turn in enumerate(row.turns) if turn.role is Role.ASSISTANT)
    return {"prompt": said[:place], "completion": said[place : place + 1], **_tools(row)}


def axolotl(row: Conversation, loss_on: LossOn) -> dict[str, object]:
    """A row of ``messages``, each of which says whether it is trained on."""
    marked = [
        {**said, "train": is_learned(row.turns, place, loss_on)}
        for place, said in enumerate(_messages(row))
    ]
    return {"messages": marked, **_tools(row)}


def llamafactory(row: Conversation, loss_on: LossOn) -> dict[str, object]:
    """A row of ``messages`` in ShareGPT's manner, by the tags of `LLAMAFACTORY_TAGS`."""
    _require_turns(row)
    said = [_tagged(turn) for turn in row.turns]
    return {"messages": said, "tools": row.tools}


LLAMAFACTORY_TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "function_tag": "function_call",
    "system_tag": "system",
}
"""What dataset_info.json must say of rows by `llamafactory`."""


def chatts(row: Conversation, loss_on: LossOn) -> dict[str, object]:
    """A row for the ChatTS fork: the last question and its answer, what came before, the series."""
    _require_turns(row)
    context = list(takewhile(lambda turn: turn.role in SYSTEMS, row.turns))
    turns = [turn.content for turn in row.turns[len(context) :]]
    pairs = list(zip(turns[::2], turns[1::2], strict=False))
    asked = [turn.role for turn in row.turns[len(context) :: 2]]
    if len(turns) % 2 or set(asked) != {Role.USER}:
        raise TsplannerError(
            f"The row in line {row.line} is no exchange of questions and answers, which is all "
            "that the ChatTS fork reads: leave such rows out, or run the plan with tsplanner train."
        )
    (question, answer), history = pairs[-1], pairs[:-1]
    return {
        "input": question,
        "output": answer,
        "system": "\n".join(turn.content for turn in context),
        "history": history,
        "timeseries": row.timeseries,
    }


SYSTEMS = frozenset({Role.SYSTEM, Role.DEVELOPER})


def _messages(row: Conversation) -> list[dict[str, object]]:
    """The turns as OpenAI writes them."""
    _require_turns(row)
    return [_message(turn) for turn in row.turns]


def _message(turn: Turn) -> dict[str, object]:
    found: dict[str, object] = {"role": _role(turn), "content": turn.content}
    if turn.thoughts:
        found["reasoning_content"] = turn.thoughts
    if turn.tool_calls:
        found["tool_calls"] = [
            {
                "type": "function",
                "id": call.id,
                "function": {"name": call.name, "arguments": json.loads(call.arguments)},
            }
            for call in turn.tool_calls
        ]
    if turn.name:
        found["name"] = turn.name
    if turn.tool_call_id:
        found["tool_call_id"] = turn.tool_call_id
    return found


def _role(turn: Turn) -> str:
    """Most templates know no developer."""
    return str(Role.SYSTEM if turn.role is Role.DEVELOPER else turn.role)


def _tools(row: Conversation) -> dict[str, object]:
    """The tools as text, which all trainers decode; a list would get the fields of all rows."""
    return {"tools": row.tools} if row.tools else {}


def _tagged(turn: Turn) -> dict[str, str]:
    role, content = _role(turn), turn.content
    if turn.tool_calls:
        role = "function_call"
        calls = [
            {"name": call.name, "arguments": json.loads(call.arguments)} for call in turn.tool_calls
        ]
        content = json.dumps(calls, ensure_ascii=False)
    return {"role": role, "content": content}


def _require_turns(row: Conversation) -> None:
    """Raise TsplannerError for plain text, which a trainer reads by another way than dialogues."""
    if row.text is not None:
        raise TsplannerError(
            f"The row in line {row.line} is plain text and no dialogue: export with --rows tokens."
        )
