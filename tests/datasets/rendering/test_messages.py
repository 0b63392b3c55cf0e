"""Turns as the dictionaries that templates read."""

from __future__ import annotations

import pytest

from tests.support.templates import CALL, CALLS, TELLS, turn
from tsplanner.datasets.records import ToolCall
from tsplanner.datasets.rendering.messages import Style, messages_of
from tsplanner.datasets.rows.fields import RowError


def test_a_turn_has_only_what_the_row_says() -> None:
    """Templates ask whether a key is there."""
    assert messages_of((turn("u", "Hi"),), Style()) == [{"role": "user", "content": "Hi"}]


def test_thoughts_have_both_of_their_names() -> None:
    """gpt-oss reads one, Qwen3 the other."""
    (message,) = messages_of((turn("a", "Yes", thoughts="Hm"),), Style())
    assert message["reasoning_content"] == message["thinking"] == "Hm"


def test_arguments_are_an_object_or_text() -> None:
    """As the template wants them."""
    (message,) = messages_of((CALLS,), Style())
    assert message["tool_calls"] == [
        {
            "type": "function",
            "function": {"name": "valve", "arguments": {"id": 7, "why": "flow"}},
            "id": "call00007",
        }
    ]
    (message,) = messages_of((CALLS,), Style(arguments_as_text=True))
    assert message["tool_calls"][0]["function"]["arguments"] == CALL.arguments
    for text in ("{", "[" * 100_000):
        broken = turn("a", tool_calls=(ToolCall(name="valve", arguments=text),))
        with pytest.raises(RowError, match="arguments of the call of valve are no JSON"):
            messages_of((broken,), Style())


def test_calls_without_an_id_get_one_where_the_template_wants_it() -> None:
    """The tool's answer gets the same; an id of the row stays."""
    calls = turn("a", tool_calls=(ToolCall(name="a", arguments="{}"), CALL))
    asked, told = messages_of((calls, turn("t", "1")), Style(numbered_calls=True))
    assert [each["id"] for each in asked["tool_calls"]] == ["call00000", "call00007"]
    assert told["tool_call_id"] == "call00000"
    assert messages_of((CALLS, TELLS), Style(numbered_calls=True))[1]["tool_call_id"] == CALL.id


def test_contents_can_be_parts_and_developers_systems() -> None:
    """Templates of models that see read parts; older ones know no developer."""
    style = Style(content_in_parts=True, knows_developer=False)
    assert messages_of((turn("d", "Hi"),), style) == [
        {"role": "system", "content": [{"type": "text", "text": "Hi"}]}
    ]
