"""The short way reads what the long way reads."""

from __future__ import annotations

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tsplanner.datasets.records import Role, Turn
from tsplanner.datasets.rows.plain_turns import plain_turns
from tsplanner.datasets.rows.turns import TurnReader


@given(
    st.lists(
        st.tuples(st.sampled_from(list(Role)), st.text(st.characters(codec="utf-8"))), max_size=6
    )
)
def test_plain_turns_are_read_the_same_on_the_short_way_and_on_the_long(
    turns: list[tuple[Role, str]],
) -> None:
    """A field that nobody reads sends a turn the long way."""
    plain = [{"role": role, "content": text} for role, text in turns]
    raw = msgspec.Raw(json.dumps(plain).encode())
    expected = [Turn(role=role, content=text) for role, text in turns]
    assert plain_turns(raw) == expected
    longer = [turn | {"id": 1} for turn in plain]
    assert plain_turns(msgspec.Raw(json.dumps(longer).encode())) == (None if plain else [])
    assert TurnReader().turns("messages", longer) == expected
    assert plain_turns(msgspec.Raw(b'[{"role": "user", "content": "a", "weight": 0}]')) is None


def test_sharegpt_turns_and_nulls_go_the_short_way() -> None:
    """A name that is no usual one, or a field with a value, does not."""
    said = [{"from": "human", "value": "a", "weight": None}, {"from": "gpt", "value": "b"}]
    assert plain_turns(msgspec.Raw(json.dumps(said).encode())) == [
        Turn(role=Role.USER, content="a"),
        Turn(role=Role.ASSISTANT, content="b"),
    ]
    for other in ({"from": "bot", "value": "a"}, {"from": "function_call", "value": "{}"}):
        assert plain_turns(msgspec.Raw(json.dumps([other]).encode())) is None
