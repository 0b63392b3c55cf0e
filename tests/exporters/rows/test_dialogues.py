"""Conversations in the terms of each trainer."""

from __future__ import annotations

import pytest

from tsplanner.datasets.records import Conversation, LossOn, Role, ToolCall, Turn
from tsplanner.errors import TsplannerError
from tsplanner.exporters.rows import dialogues

CALL = ToolCall(name="weather", arguments='{"city": "Oslo"}', id="1")
ROW = Conversation(
    turns=(
        Turn(role=Role.DEVELOPER, content="Be short."),
        Turn(role=Role.USER, content="Weather?"),
        Turn(role=Role.ASSISTANT, tool_calls=(CALL,), learned=False),
        Turn(role=Role.TOOL, content="clear", tool_call_id="1"),
        Turn(role=Role.ASSISTANT, content="It is clear."),
    ),
    tools='[{"type": "function"}]',
    line=3,
)
CALLED = {
    "type": "function",
    "id": "1",
    "function": {"name": "weather", "arguments": {"city": "Oslo"}},
}


def test_trl_gets_messages_or_what_is_asked_and_what_is_learned() -> None:
    """Arguments of calls are objects, tools are text; a developer is a system."""
    said = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [CALLED]},
        {"role": "tool", "content": "clear", "tool_call_id": "1"},
        {"role": "assistant", "content": "It is clear."},
    ]
    assert dialogues.trl(ROW, LossOn.ASSISTANT) == {"messages": said, "tools": ROW.tools}
    assert dialogues.trl(ROW, LossOn.LAST) == {
        "prompt": said[:4],
        "completion": said[4:],
        "tools": ROW.tools,
    }


@pytest.mark.parametrize(
    ("loss_on", "trained"),
    [
        (LossOn.ASSISTANT, [False, False, False, False, True]),
        (LossOn.LAST, [False, False, False, False, True]),
        (LossOn.ALL, [True, True, False, True, True]),
    ],
)
def test_axolotl_gets_a_mark_for_every_turn(loss_on: LossOn, trained: list[bool]) -> None:
    """What the row says of a turn goes before what the plan says of all."""
    found = dialogues.axolotl(ROW, loss_on)["messages"]
    assert isinstance(found, list)
    assert [turn["train"] for turn in found] == trained


def test_llamafactory_gets_calls_and_answers_of_tools_by_its_tags() -> None:
    """A call is a turn of its own kind that holds JSON."""
    assert dialogues.llamafactory(ROW, LossOn.ASSISTANT)["messages"] == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Weather?"},
        {
            "role": "function_call",
            "content": '[{"name": "weather", "arguments": {"city": "Oslo"}}]',
        },
        {"role": "tool", "content": "clear"},
        {"role": "assistant", "content": "It is clear."},
    ]


def test_the_chatts_fork_gets_history_and_series() -> None:
    """The last question and its answer stand apart from what came before."""
    turns = (
        Turn(role=Role.SYSTEM, content="s"),
        Turn(role=Role.USER, content="a <ts><ts/>"),
        Turn(role=Role.ASSISTANT, content="b"),
        Turn(role=Role.USER, content="c"),
        Turn(role=Role.ASSISTANT, content="d"),
    )
    row = Conversation(turns=turns, timeseries=((1.0, 2.0),), line=1)
    assert dialogues.chatts(row, LossOn.ASSISTANT) == {
        "input": "c",
        "output": "d",
        "system": "s",
        "history": [("a <ts><ts/>", "b")],
        "timeseries": ((1.0, 2.0),),
    }
    with pytest.raises(TsplannerError, match="line 3 is no exchange"):
        dialogues.chatts(ROW, LossOn.ASSISTANT)


def test_plain_text_is_no_dialogue() -> None:
    """Token ids say it, and the way there is named."""
    with pytest.raises(TsplannerError, match=r"line 9 is plain text .* export with --rows tokens"):
        dialogues.trl(Conversation(text="Once.", line=9), LossOn.ASSISTANT)
