"""Formats of a dataset: how each is recognised, and the sample that a row becomes."""

from __future__ import annotations

import json

import pytest

from tests.support.rows import conversation, written_bytes
from tsplanner.datasets.records import Conversation, Role, Turn
from tsplanner.datasets.rows.formats import format_of
from tsplanner.datasets.rows.readers import read_conversations


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
        {
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello"},
            ]
        },
    ],
)
def test_dialogue_of_one_turn_is_question_and_answer(tmp_path, row):
    """Both spellings of a dialogue give the same sample."""
    path = written_bytes(tmp_path, json.dumps(row).encode())

    assert [conversation("Hi", "Hello")] == list(read_conversations(path))


def test_dialogue_of_several_turns_keeps_what_came_before(tmp_path):
    """Every turn keeps its role."""
    turns = ["user", "assistant", "user", "assistant"]
    row = {"messages": [{"role": r, "content": f"t{i}"} for i, r in enumerate(turns)]}
    path = written_bytes(tmp_path, json.dumps(row).encode())

    said = tuple(Turn(role=Role(r), content=f"t{i}") for i, r in enumerate(turns))
    assert [Conversation(turns=said, line=1)] == list(read_conversations(path))


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"input", "output", "timeseries"}, "chatts"),
        ({"input", "output"}, "chatts"),
        ({"timeseries", "question"}, "chatts"),
        ({"instruction", "output"}, "alpaca"),
        ({"instruction", "input", "output", "system"}, "alpaca"),
        ({"conversations", "system"}, "sharegpt"),
        ({"messages"}, "messages"),
        ({"question", "answer"}, None),
        (set(), None),
    ],
)
def test_a_format_is_recognised_by_its_fields(fields: set[str], name: str | None) -> None:
    """ChatTS shares two fields with alpaca, whose sign is the instruction."""
    found = format_of(frozenset(fields))
    assert (found.name if found else None) == name
    assert (found is not None and found.holds_series) == (name == "chatts")
