"""Turns of dialogues in the spellings of datasets."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tsplanner.datasets.records import Fault, Noticed, Role, ToolCall, Turn
from tsplanner.datasets.rows.fields import Fields, RowError
from tsplanner.datasets.rows.turns import TurnReader, asked_and_answered, not_turns

ASKED = {"role": "user", "content": "w?"}


def read(*turns: Any, names: dict[str, str] | None = None) -> tuple[list[Turn], list[str]]:
    """The turns of a field, and what was noticed."""
    data = json.dumps({"messages": list(turns)})
    row = Fields(msgspec.json.decode(data, type=dict[str, msgspec.Raw]))
    reader = TurnReader(names)
    return reader.read(row, "messages"), [text for _, text in reader.remarks]


def answer(**fields: Any) -> Turn:
    """The turn that an assistant's message with these fields gives."""
    (_, turn), noticed = read(ASKED, {"role": "assistant", **fields})
    assert noticed == []
    return turn


SAID = [Turn(role=Role.USER, content="Hi"), Turn(role=Role.ASSISTANT, content="Ho")]


@pytest.mark.parametrize(
    "turns",
    [
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}],
        [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}],
        [{"from": "user", "content": "Hi"}, {"from": "assistant", "content": "Ho"}],
        [{"speaker": "human", "text": "Hi"}, {"speaker": "gpt", "text": "Ho"}],
        [{"role": "user", "content": "Hi", "name": None, "tool_calls": None},
         {"role": "assistant", "content": "Ho", "weight": None}],
        [{"input": "Hi", "output": "Ho"}],
        [["Hi", "Ho"]],
        [{"role": "user", "content": [{"type": "text", "text": "Hi"}]},
         {"role": "assistant", "content": [{"type": "text", "text": "Ho"}]}],
        ['{"role": "user", "content": "Hi"}', '{"role": "assistant", "content": "Ho"}'],
    ],
)  # fmt: skip
def test_every_spelling_of_two_turns_gives_the_same_turns(turns: list[Any]) -> None:
    """And none of them is a guess."""
    assert read(*turns) == (SAID, [])


@pytest.mark.parametrize(
    ("turns", "noticed"),
    [
        (["Hi", "Ho"], "texts of messages: user and assistant by turns"),
        ([{"role": "Human", "content": "Hi"}, {"role": "bot", "content": "Ho"}], 'role "bot"'),
    ],
)
def test_what_is_guessed_is_noticed(turns: list[Any], noticed: str) -> None:
    """The plan says it."""
    found, texts = read(*turns)
    assert found == SAID
    assert any(text.startswith(noticed) for text in texts)


def test_a_message_keeps_its_calls_thoughts_names_and_weights() -> None:
    """As OpenAI's form and its relatives write them."""
    call = {"id": "c", "type": "function", "function": {"name": "w", "arguments": "{}"}}
    made = (ToolCall(name="w", arguments="{}", id="c"),)
    assert answer(content=None, tool_calls=[call]).tool_calls == made
    assert answer(tool_calls=[call]) == Turn(role=Role.ASSISTANT, tool_calls=made)
    old = answer(content=None, function_call={"name": "w", "arguments": "{}"})
    assert old.tool_calls == (ToolCall(name="w", arguments="{}"),)
    assert answer(content="x", reasoning_content="hm").thoughts == "hm"
    assert answer(content="x", thinking="hm").thoughts == "hm"
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "x"}]
    (_, turn), noticed = read(ASKED, {"role": "assistant", "content": parts})
    assert (turn.thoughts, turn.content) == ("hm", "x")
    assert noticed == []
    (_, turn), noticed = read(ASKED, {"role": "assistant", "content": [*parts, parts[1]]})
    assert turn.content == "xx"
    assert noticed == ["several parts of a content: one text"]
    tool = {"role": "tool", "content": "7", "tool_call_id": "c", "name": "w"}
    assert read(tool)[0] == [Turn(role=Role.TOOL, content="7", tool_call_id="c", name="w")]


@pytest.mark.parametrize(
    ("field", "value", "learned"),
    [
        ("weight", 0, False), ("weight", 1, True), ("weight", 0.0, False), ("loss", True, True),
        ("train", False, False), ("training", True, True), ("masked", True, False),
        ("masked", False, True), ("loss_weight", 0.0, False),
    ],
)  # fmt: skip
def test_a_weight_says_whether_a_turn_carries_loss(field: str, value: Any, learned: bool) -> None:
    """Masked turns carry none."""
    assert answer(content="x", **{field: value}).learned is learned


def test_a_function_call_of_sharegpt_is_a_call_or_stays_text() -> None:
    """Text that is no call is kept, and that is said."""
    call = {"from": "function_call", "value": '{"name": "w", "arguments": {"a": 1}}'}
    made = (ToolCall(name="w", arguments='{"a": 1}'),)
    assert read(call)[0] == [Turn(role=Role.ASSISTANT, tool_calls=made)]
    turns, noticed = read({"from": "function_call", "value": "w(a=1)"})
    assert turns == [Turn(role=Role.ASSISTANT, content="w(a=1)")]
    assert noticed == ["function_call without JSON: plain text"]


def test_calls_and_results_in_parts_of_a_content_are_turns() -> None:
    """As Anthropic writes them; what the user says beside a result stands behind it."""
    use = {"type": "tool_use", "id": "c", "name": "w", "input": {"a": 1}}
    result = {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "7"}]}
    turns, noticed = read(
        ASKED,
        {"role": "assistant", "content": [{"type": "text", "text": "Hm."}, use]},
        {"role": "user", "content": [result, {"type": "text", "text": "Go on."}]},
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": [{**result, "content": "8"}]},
    )
    assert turns[1] == Turn(
        role=Role.ASSISTANT,
        content="Hm.",
        tool_calls=(ToolCall(name="w", arguments='{"a": 1}', id="c"),),
    )
    assert turns[2:4] == [
        Turn(role=Role.TOOL, content="7", tool_call_id="c"),
        Turn(role=Role.USER, content="Go on."),
    ]
    assert turns[5:] == [Turn(role=Role.TOOL, content="8", tool_call_id="c")]
    assert noticed == []


def test_parts_that_have_a_value_each_are_read_by_their_type() -> None:
    """As LLaMA-Factory's v1 rows have them: a call is the text of one."""
    call = '{"name": "w", "arguments": {"a": 1}}'
    turns, noticed = read(
        {"role": "user", "content": [{"type": "text", "value": "Hi"}], "loss_weight": 0.0},
        {
            "role": "assistant",
            "content": [
                {"type": "reasoning", "value": "Hm."},
                {"type": "tool_call", "value": call},
                {"type": "tool_call", "value": '{"name": "v"}'},
            ],
        },
    )
    assert turns == [
        Turn(role=Role.USER, content="Hi", learned=False),
        Turn(
            role=Role.ASSISTANT,
            thoughts="Hm.",
            tool_calls=(
                ToolCall(name="w", arguments='{"a": 1}'),
                ToolCall(name="v", arguments="{}"),
            ),
        ),
    ]
    assert noticed == []
    with pytest.raises(RowError, match="a call of a tool has no name"):
        read({"role": "assistant", "content": [{"type": "tool_call", "value": "w(a=1)"}]})


def test_fields_of_turns_that_are_not_read_are_noticed_unless_they_are_empty() -> None:
    """An id is; an empty refusal is none."""
    turns, noticed = read({**ASKED, "id": 7, "refusal": None, "annotations": []})
    assert turns == [Turn(role=Role.USER, content="w?")]
    assert noticed == ["id of a turn"]


def test_a_user_says_what_fields_and_roles_are_called() -> None:
    """By --columns."""
    names = {"role": "who", "content": "said", "user": "patient", "assistant": "doctor"}
    turns = [{"who": "patient", "said": "Hi"}, {"who": "doctor", "said": "Ho"}]
    assert read(*turns, names=names) == (SAID, [])


@pytest.mark.parametrize(
    ("turns", "fault", "reason"),
    [
        ([ASKED, {"role": "boss", "content": "x"}], Fault.ROLE, 'turn 2: unknown role "boss"'),
        ([{"content": "x"}], Fault.MISSING_FIELD, 'turn 1: field "role" is missing'),
        ([{"role": "user"}], Fault.MISSING_FIELD, 'turn 1: field "content" is missing'),
        ([{"role": "user", "content": 3}], Fault.WRONG_TYPE, 'turn 1: "content" is a number'),
        ([7], Fault.WRONG_TYPE, "turn 1 is a number, not an object"),
        ([{**ASKED, "weight": 0.5}], Fault.WEIGHT, "turn 1: weight 0.5: a turn is learned whole"),
        ([{**ASKED, "weight": "1"}], Fault.WRONG_TYPE, 'turn 1: "weight" is text, not 0 or 1'),
        ([{**ASKED, "train_detail": [1]}], Fault.WEIGHT, "turn 1: train_detail weighs parts"),
        ([{**ASKED, "loss_scale": 0.3}], Fault.WEIGHT, "turn 1: loss_scale weighs parts"),
        ([{**ASKED, "images": ["a"]}], Fault.MEDIA, 'turn 1: "images", and only text'),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
            Fault.MEDIA,
            'turn 1: "image_url", and only text and series are trained',
        ),
        (
            [{"role": "user", "content": [{"type": "document", "source": {}}]}],
            Fault.PART,
            'turn 1: a part of the type "document" is not read',
        ),
        ([{"role": "user", "content": [3]}], Fault.WRONG_TYPE, "turn 1: a part is a number"),
        ([["a", "b", "c"]], Fault.WRONG_TYPE, "turn 1 is a list, not an object"),
    ],
)
def test_a_turn_that_cannot_be_read_is_named(turns: list[Any], fault: Fault, reason: str) -> None:
    """Turns are counted from 1."""
    with pytest.raises(RowError) as caught:
        read(*turns)
    assert str(caught.value).startswith(reason)
    assert caught.value.fault is fault


def test_a_pair_may_have_a_system_text_and_a_weight() -> None:
    """As XTuner's rows have them."""
    pairs = [
        {"system": "s", "input": "a", "output": "b", "output_with_loss": False},
        {"input": "c", "output": "d", "id": 3},
    ]
    turns, noticed = read(*pairs)
    assert [(turn.role, turn.content, turn.learned) for turn in turns] == [
        ("system", "s", None), ("user", "a", None), ("assistant", "b", False),
        ("user", "c", None), ("assistant", "d", None),
    ]  # fmt: skip
    assert noticed == ["id of a turn"]


def test_turns_may_be_columns() -> None:
    """As a sequence of objects in ``datasets``; unequal columns are no turns."""
    reader = TurnReader()
    columns = {"from": ["human", "gpt"], "value": ["Hi", "Ho"]}
    assert reader.turns("conversations", columns) == SAID
    with pytest.raises(RowError, match="is an object, not a list of turns"):
        reader.turns("conversations", {**columns, "value": ["Hi"]})


def test_a_list_as_python_writes_it_is_known() -> None:
    """It is what a table holds if nobody wrote JSON into its cells."""
    error = not_turns("messages", "[{'role': 'user'}]")
    assert "Python's own writing of a list" in str(error)
    assert str(not_turns("messages", 7)) == 'field "messages" is a number, not a list of turns'


def test_a_question_and_its_answer_are_two_turns() -> None:
    """Of the user and of the assistant."""
    assert list(asked_and_answered("Hi", "Ho")) == SAID
    assert Noticed.GUESS == "guessed"


def test_a_type_names_the_speaker_of_a_text_and_no_pair() -> None:
    """LangChain writes human and ai; a pair may have a type of its own."""
    turns, noticed = read({"type": "human", "content": "Hi"}, {"type": "ai", "content": "Ho"})
    assert (turns, noticed) == (SAID, ['role "ai": assistant'])
    assert read({"type": "qa", "input": "Hi", "output": "Ho"}) == (SAID, ["type of a turn"])


def test_a_part_without_a_type_is_named_by_its_field() -> None:
    """Gemini's calls are such parts."""
    with pytest.raises(RowError, match='a part of the type "functionCall" is not read'):
        read({"role": "user", "parts": [{"functionCall": {"name": "w"}}]})


def test_a_second_field_of_thoughts_is_named() -> None:
    """Services repeat the thoughts under another name; other thoughts do not vanish."""
    same = answer(content="b", reasoning="t", reasoning_content="t")
    assert same.thoughts == "t"
    turns, noticed = read(
        ASKED, {"role": "assistant", "content": "b", "thinking": "t", "thought": "x"}
    )
    assert (turns[1].thoughts, noticed) == ("t", ["thought of a turn"])


def test_a_turn_that_says_both_that_it_carries_loss_and_that_it_does_not_is_refused() -> None:
    """The same word twice is fine."""
    assert answer(content="b", weight=0, loss=False).learned is False
    with pytest.raises(RowError, match="turn 2: train says otherwise than another field"):
        read(ASKED, {"role": "assistant", "content": "b", "weight": 0, "train": True})


def test_a_part_that_is_marked_as_a_thought_is_one() -> None:
    """As Gemini marks it."""
    parts = [{"text": "t", "thought": True}, {"text": "a", "thought": False}]
    turns, _ = read({"role": "model", "parts": parts})
    assert (turns[0].thoughts, turns[0].content) == ("t", "a")


def test_a_history_may_name_its_pairs_as_a_row_does() -> None:
    """A question and its answer in one object."""
    assert read({"query": "Hi", "response": "Ho"}) == (SAID, [])
    assert read({"question": "Hi", "answer": "Ho"}) == (SAID, [])
