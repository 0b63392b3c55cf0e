"""Definitions of tools and calls of tools, in the spellings of datasets."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec

from tsplanner.datasets.records import Fault, ToolCall
from tsplanner.datasets.rows.fields import RowError, kind_of, wrong_type

CALL_PARTS = frozenset({"tool_use", "tool_call"})
"""Types of the parts of a content that are calls."""
ARGUMENTS = ("arguments", "parameters", "args", "input")
"""Names of a call's arguments; the first is OpenAI's."""


def tools_text(name: str, value: Any) -> str:
    """Tool definitions as the text of a JSON list in OpenAI's form; empty: there are none.

    A null in a definition is a field that it does not have, as libraries write it.

    Raises RowError: the value is no list of objects, or one of them has no name.
    """
    if isinstance(value, dict):
        value = [value]
    if value is None or (isinstance(value, str) and not value.strip()):
        return ""
    if not isinstance(value, list):
        raise wrong_type(name, value, "a JSON list of tools")
    tools = [_tool(name, each) for each in value]
    return json.dumps(tools, ensure_ascii=False) if tools else ""


def _opened(value: Any) -> Any:
    """What a text holds as JSON; anything else as it is."""
    if isinstance(value, str):
        with contextlib.suppress(msgspec.MsgspecError, RecursionError, UnicodeEncodeError):
            return msgspec.json.decode(value)
    return value


def _tool(name: str, value: Any) -> dict[str, Any]:
    """A definition in OpenAI's form; it may be a function alone, and the text of either."""
    value = _opened(value)
    if not isinstance(value, dict):
        raise RowError(f'field "{name}" holds {kind_of(value)}, not a tool', Fault.WRONG_TYPE)
    value = {key: item for key, item in value.items() if item is not None}
    tool = value if "function" in value else _wrapped(value)
    function = tool["function"]
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowError(f'field "{name}" holds a tool without a name', Fault.WRONG_TYPE)
    return tool


def _wrapped(function: dict[str, Any]) -> dict[str, Any]:
    """A function in OpenAI's form; newer rows name the type beside the function's name."""
    own = {key: value for key, value in function.items() if (key, value) != ("type", "function")}
    return {"type": "function", "function": own}


def turn_calls(value: Any, place: int) -> tuple[ToolCall, ...]:
    """Calls of a turn: OpenAI's ``tool_calls``, its older ``function_call``, or a plain call.

    Raises RowError: a call has no name, or its arguments are no JSON object.
    """
    return tuple(_call(each, place) for each in (value if isinstance(value, list) else [value]))


def without_tool_parts(turn: dict[str, Any]) -> list[dict[str, Any]]:
    """A turn whose calls and results of tools are parts of its content, as turns of OpenAI's form.

    Source: Anthropic's messages, whose calls are parts ``tool_use`` of the assistant's turn and
    whose results are parts ``tool_result`` of the user's next turn, and LLaMA-Factory's v1 rows,
    whose calls are parts ``tool_call`` with the text of a call. Other turns stay as they are.
    """
    content = turn.get("content")
    parts = content if isinstance(content, list) else []
    uses: list[Any] = []
    results: list[Any] = []
    others: list[Any] = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in CALL_PARTS:
            uses.append(_opened(part["value"]) if "value" in part else part)
        else:
            (results if kind == "tool_result" else others).append(part)
    if not uses and not results:
        return [turn]
    made = [
        {"role": "tool", "content": part.get("content"), "tool_call_id": part.get("tool_use_id")}
        for part in results
    ]
    if uses or others:
        calls = [*turn.get("tool_calls", []), *uses]
        made.append({**turn, "content": others, **({"tool_calls": calls} if calls else {})})
    return [{key: value for key, value in each.items() if value is not None} for each in made]


def _call(value: Any, place: int) -> ToolCall:
    inner = value.get("function") if isinstance(value, dict) else None
    call = inner if isinstance(inner, dict) else value
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        raise RowError(f"turn {place}: a call of a tool has no name", Fault.CALL)
    given = next((call[name] for name in ARGUMENTS if call.get(name) is not None), None)
    identity = value.get("id")
    return ToolCall(
        name=call["name"],
        arguments=_arguments(given, call["name"], place),
        id=identity if isinstance(identity, str) else "",
    )


def _arguments(value: Any, name: str, place: int) -> str:
    """Arguments as the text of a JSON object."""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    if value is None or value == "":
        return "{}"
    if isinstance(value, str):
        try:
            msgspec.json.decode(value, type=dict)
        except msgspec.MsgspecError:
            pass
        else:
            return value
    raise RowError(
        f'turn {place}: the arguments of the call "{name:.40}" are no JSON object', Fault.CALL
    )


def calls_in_text(text: str) -> tuple[ToolCall, ...] | None:
    """The calls that a text is, as ShareGPT rows write them; None: it is something else."""
    try:
        found = msgspec.json.decode(text)
        every = found if isinstance(found, list) else [found]
        return turn_calls(every, 0) if every else None
    except (msgspec.MsgspecError, RowError, RecursionError, UnicodeEncodeError):
        return None
