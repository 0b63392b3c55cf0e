"""Tools and calls of tools in the spellings of datasets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tsplanner.datasets.records import Fault, ToolCall
from tsplanner.datasets.rows.calls import calls_in_text, tools_text, turn_calls, without_tool_parts
from tsplanner.datasets.rows.fields import RowError

WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": {}}}
WRAPPED = {"type": "function", "function": WEATHER}


@pytest.mark.parametrize(
    ("value", "tools"),
    [
        ([WEATHER], [WRAPPED]),
        ([WRAPPED], [WRAPPED]),
        (WEATHER, [WRAPPED]),
        ([{"type": "function", **WEATHER}], [WRAPPED]),
        ([WEATHER | {"description": None}], [WRAPPED]),
        ([], None),
        (None, None),
        ("  ", None),
    ],
)
def test_definitions_are_a_list_in_openais_form(value: Any, tools: Any) -> None:
    """A bare function is wrapped; a null is a field that is not there."""
    text = tools_text("tools", value)
    assert (json.loads(text) if text else None) == tools


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("call the weather", 'field "tools" is text, not a JSON list of tools'),
        ([1], 'field "tools" holds a number, not a tool'),
    ],
)
def test_definitions_that_are_no_objects_are_refused(value: Any, reason: str) -> None:
    """They would be lost in the template."""
    with pytest.raises(RowError) as caught:
        tools_text("tools", value)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("value", "call"),
    [
        (
            [{"id": "1", "type": "function", "function": {"name": "w", "arguments": '{"a": 1}'}}],
            ToolCall(name="w", arguments='{"a": 1}', id="1"),
        ),
        ({"name": "w", "arguments": {"a": "é"}}, ToolCall(name="w", arguments='{"a": "é"}')),
        ({"name": "w", "parameters": {}}, ToolCall(name="w", arguments="{}")),
        ({"name": "w"}, ToolCall(name="w", arguments="{}")),
        ({"name": "w", "arguments": ""}, ToolCall(name="w", arguments="{}")),
    ],
)
def test_calls_have_a_name_and_arguments_as_the_text_of_an_object(
    value: Any, call: ToolCall
) -> None:
    """Given as text or as an object; without arguments an empty object."""
    assert turn_calls(value, 1) == (call,)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([{"function": {"arguments": "{}"}}], "turn 4: a call of a tool has no name"),
        (["w"], "turn 4: a call of a tool has no name"),
        ({"name": "w", "arguments": "[1]"}, 'turn 4: the arguments of the call "w" are no JSON'),
        ({"name": "w", "arguments": "a=1"}, 'turn 4: the arguments of the call "w" are no JSON'),
        ({"name": "w", "arguments": 7}, 'turn 4: the arguments of the call "w" are no JSON'),
    ],
)
def test_a_call_that_nobody_could_make_is_refused(value: Any, reason: str) -> None:
    """The turn is named."""
    with pytest.raises(RowError) as caught:
        turn_calls(value, 4)
    assert str(caught.value).startswith(reason)
    assert caught.value.fault is Fault.CALL


def test_a_turn_without_tools_in_its_parts_stays_as_it_is() -> None:
    """Of a damaged part nothing is guessed."""
    for turn in ({"role": "user", "content": "a"}, {"content": [3, {"type": "text"}]}, {}):
        assert without_tool_parts(turn) == [turn]
    result = {"type": "tool_result", "content": "7"}
    assert without_tool_parts({"role": "user", "content": [result]}) == [
        {"role": "tool", "content": "7"}
    ]


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ('{"name": "w", "arguments": {}}', (ToolCall(name="w", arguments="{}"),)),
        (
            '[{"name": "a"}, {"name": "b"}]',
            (ToolCall(name="a", arguments="{}"), ToolCall(name="b", arguments="{}")),
        ),
        ("I call the weather.", None),
        ('{"tool": "w"}', None),
        ("[]", None),
        ("7", None),
        ("\ud800", None),
    ],
)
def test_a_text_is_calls_only_if_it_is_their_json(
    text: str, calls: tuple[ToolCall, ...] | None
) -> None:
    """One object or a list of them."""
    assert calls_in_text(text) == calls


def test_a_tool_may_be_the_text_of_one() -> None:
    """As tables keep tools whose fields differ."""
    function = {"name": "w", "parameters": {}}
    wrapped = {"type": "function", "function": function}
    assert (
        json.loads(tools_text("tools", [json.dumps(function), json.dumps(wrapped)]))
        == [wrapped] * 2
    )


@pytest.mark.parametrize("tool", [{"w": {"description": "d"}}, {"type": "code"}, {"function": 1}])
def test_a_tool_without_a_name_is_refused(tool: dict[str, object]) -> None:
    """No template could write it."""
    with pytest.raises(RowError, match='field "tools" holds a tool without a name'):
        tools_text("tools", [tool])
