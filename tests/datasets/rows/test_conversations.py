"""Rows of every form become conversations."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tests.support.rows import conversation
from tsplanner.datasets.records import Conversation, Noticed, Role, Turn
from tsplanner.datasets.rows.conversations import ConversationReader
from tsplanner.datasets.rows.fields import RowError


def read(row: dict[str, Any]) -> Conversation:
    """The conversation of one row."""
    found, _ = noticed(row)
    return found


def noticed(row: dict[str, Any]) -> tuple[Conversation, list[tuple[str, str]]]:
    """The conversation of one row, and what was noticed beside its form."""
    reader = ConversationReader()
    found = reader.read(msgspec.json.decode(json.dumps(row), type=dict[str, msgspec.Raw]), 1)
    assert reader.remarks.records() == ()
    reader.count(1)
    remarks = [(each.kind, each.text) for each in reader.remarks.records()]
    return found, [(kind, text) for kind, text in remarks if kind != Noticed.FORM]


def said(*turns: tuple[str, str]) -> tuple[Turn, ...]:
    """Turns of these roles and texts."""
    return tuple(Turn(role=Role(role), content=text) for role, text in turns)


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "a", "output": "b"},
        {"instruction": "a", "input": None, "output": "b", "system": None, "history": None},
        {"instruction": "a", "input": "", "output": "b", "system": "", "history": []},
        {"prompt": "a", "completion": "b"},
        {"question": "a", "answer": "b"},
        {"input": "a", "output": "b"},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {"conversation": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
        {"messages": '[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]'},
    ],
)
def test_every_form_of_a_question_and_its_answer_gives_two_turns(row: dict[str, Any]) -> None:
    """Null and empty fields are fields that the row does not have."""
    assert read(row) == conversation("a", "b")


def test_alpaca_has_a_system_text_a_history_and_an_input() -> None:
    """In this order before the answer; the input stands behind the instruction."""
    row = {
        "instruction": "a", "input": "i", "output": "b", "system": "s",
        "history": [["q1", "a1"], ["q2", "a2"]],
    }  # fmt: skip
    assert read(row).turns == said(
        ("system", "s"), ("user", "q1"), ("assistant", "a1"), ("user", "q2"), ("assistant", "a2"),
        ("user", "a\ni"), ("assistant", "b"),
    )  # fmt: skip


def test_of_two_system_texts_the_one_in_the_turns_counts_and_the_other_is_said() -> None:
    """LLaMA-Factory reads such rows so, too."""
    turns = [{"from": "system", "value": "s"}, {"from": "human", "value": "a"},
             {"from": "gpt", "value": "b"}]  # fmt: skip
    found, remarks = noticed({"conversations": turns, "system": "other"})
    assert found.turns == said(("system", "s"), ("user", "a"), ("assistant", "b"))
    assert remarks == [("not read", "system, as the first turn has one")]


def test_tools_stand_beside_the_turns_as_a_list_or_as_its_text() -> None:
    """Both give the same text in OpenAI's form."""
    tools = [{"name": "w", "description": "d"}]
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    for given in (tools, json.dumps(tools)):
        found = read({"conversations": turns, "tools": given})
        assert json.loads(found.tools) == [{"type": "function", "function": tools[0]}]
    assert read({"conversations": turns, "tools": "[]"}).tools == ""


def test_of_a_conversational_prompt_only_the_completion_is_learned() -> None:
    """Earlier answers of the prompt are context; one message may stand without a list."""
    prompt = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"},
              {"role": "user", "content": "a"}]  # fmt: skip
    answer = {"role": "assistant", "content": "b"}
    for completion in ([answer], answer, "b"):
        turns = read({"prompt": prompt, "completion": completion}).turns
        assert [turn.content for turn in turns] == ["q", "r", "a", "b"]
        assert [turn.learned for turn in turns] == [None, False, None, None]


def test_plain_text_has_no_turns() -> None:
    """It is learned whole."""
    assert read({"text": "a b", "meta": {}}) == Conversation(text="a b", line=1)


def test_a_dialogue_may_speak_of_series() -> None:
    """ChatTS rows in two forms, with numbers of every kind."""
    turns = [{"role": "user", "content": "<ts><ts/>?"}, {"role": "assistant", "content": "b"}]
    dialogue = read({"messages": turns, "timeseries": [[1, 2.5]]})
    assert dialogue == read({"input": "<ts><ts/>?", "output": "b", "timeseries": [[1, 2.5]]})
    assert dialogue.timeseries == ((1.0, 2.5),)


def test_fields_that_are_not_read_are_counted_if_they_hold_something() -> None:
    """By their names."""
    row = {"instruction": "a", "output": "b", "id": 7, "source": "web", "note": "", "x": None}
    assert noticed(row)[1] == [("not read", "id"), ("not read", "source")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"instruction": 3, "output": "b"}, 'field "instruction" is a number, not text'),
        ({"question": "a", "answer": {"text": ["b"]}}, 'is an object with "text", not text'),
        ({"prompt": ["a"], "completion": "b"}, 'field "prompt" is a list, not text'),
        ({"messages": {"a": 1}}, 'field "messages" is an object with "a", not a list of turns'),
        ({"instruction": "a", "output": "b", "system": 1}, 'field "system" is a number, not text'),
        (
            {"instruction": "a", "output": "b", "history": "x"},
            'field "history" is text, not a list',
        ),
    ],
)
def test_a_field_of_another_type_is_named(row: dict[str, Any], reason: str) -> None:
    """In plain words."""
    with pytest.raises(RowError) as caught:
        read(row)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "row",
    [
        {"system": [{"text": "s"}], "messages": [
            {"role": "user", "content": [{"text": "a"}]},
            {"role": "assistant", "content": [{"text": "b"}]}]},
        {"system": [{"type": "text", "text": "s"}], "prompt": "a", "completion": "b"},
        {"systemInstruction": {"role": "system", "parts": [{"text": "s"}]}, "contents": [
            {"role": "user", "parts": [{"text": "a"}]},
            {"role": "assistant", "parts": [{"text": "b"}]}]},
        {"system": "s", "chat_messages": [
            {"sender": "human", "text": "a"}, {"sender": "assistant", "text": "b"}]},
        {"system": "s", "input_text": "a", "output_text": "b"},
        {"system": "s", "question": "a", "answers": ["b"]},
    ],
)  # fmt: skip
def test_files_of_other_services_are_read(row: dict[str, Any]) -> None:
    """Bedrock, Anthropic, Gemini, Claude's own export, and an answer in a list."""
    assert read(row).turns == said(("system", "s"), ("user", "a"), ("assistant", "b"))


def test_a_system_text_of_several_parts_is_one_text_and_said() -> None:
    """What is no text is refused."""
    row = {"system": ["s", {"text": "t"}], "prompt": "a", "completion": "b"}
    found, remarks = noticed(row)
    assert found.turns[0] == Turn(role=Role.SYSTEM, content="st")
    assert remarks[-1] == (Noticed.GUESS, "several parts of a content: one text")
    for system in ([{"type": "image"}], {"x": "s"}, 1):
        with pytest.raises(RowError, match='field "system" is'):
            read({**row, "system": system})


def test_the_rows_before_decide_nothing() -> None:
    """The same field holds turns in one row and a text in the next, in either order."""
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    rows = [
        {"dialogue": "c: d", "question": "e", "answer": "f"},
        {"dialogue": turns, "question": "e", "answer": "f"},
    ]
    for order in (rows, rows[::-1]):
        reader = ConversationReader()
        for row in order:
            data = msgspec.json.decode(json.dumps(row), type=dict[str, msgspec.Raw])
            expected = ("a", "b") if row["dialogue"] is turns else ("e", "f")
            assert reader.read(data, 1) == conversation(*expected)


def test_a_question_that_is_messages_in_json_is_read_as_turns_and_said() -> None:
    """As a table keeps them; other JSON is the text that it is."""
    messages = json.dumps([{"role": "system", "content": "s"}, {"role": "user", "content": "a"}])
    found, remarks = noticed({"prompt": messages, "completion": "b"})
    assert found.turns == said(("system", "s"), ("user", "a"), ("assistant", "b"))
    assert remarks == [(Noticed.GUESS, "prompt: turns, as its JSON text has roles")]
    for text in ('[{"role": "admin"}]', "[1]", "[", '{"role": "user", "content": "a"}'):
        assert read({"prompt": text, "completion": text}) == conversation(text, text)


def test_a_context_beside_a_question_of_turns_is_said() -> None:
    """It belongs to no turn."""
    row = {"prompt": [{"role": "user", "content": "a"}], "context": "c", "completion": "b"}
    found, remarks = noticed(row)
    assert found == conversation("a", "b")
    assert (Noticed.IGNORED, "context, as the question has turns") in remarks
