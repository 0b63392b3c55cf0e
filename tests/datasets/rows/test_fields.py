"""Fields of a row: their values, and what is wrong with them in plain words."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsplanner.datasets.records import Fault
from tsplanner.datasets.rows.fields import Fields, RowError, kind_of, listed, wrong_type


def fields(**values: Any) -> Fields:
    """Fields of a row with these values."""
    return Fields(msgspec.json.decode(json.dumps(values), type=dict[str, msgspec.Raw]))


def test_a_text_is_read_and_anything_else_is_named() -> None:
    """A field that is not there is an empty text."""
    row = fields(a="x", b=3, c=[1], d={"timestamp[ms]": "2024"}, e=True)
    assert (row.text("a"), row.text("none")) == ("x", "")
    for name, found in (
        ("b", "a number"),
        ("c", "a list"),
        ("d", 'an object with "timestamp[ms]"'),
        ("e", "true"),
    ):
        with pytest.raises(RowError) as caught:
            row.text(name)
        assert str(caught.value) == f'field "{name}" is {found}, not text'
        assert caught.value.fault is Fault.WRONG_TYPE


def test_json_that_is_no_value_is_named_by_its_field() -> None:
    """Half a character, bytes of another encoding, and a nest without an end."""
    row = Fields(
        a=msgspec.Raw(b'"\\ud800"'),
        b=msgspec.Raw(b'"caf\xe9"'),
        c=msgspec.Raw(b"[" * 5000 + b"]" * 5000),
    )
    for name, reason in (
        ("a", 'field "a" holds half a character (a lone surrogate)'),
        ("b", 'field "b" is not UTF-8'),
        ("c", 'field "c" holds values nested too deep'),
    ):
        with pytest.raises(RowError) as caught:
            row.value(name)
        assert str(caught.value) == reason


def test_a_cell_that_holds_json_is_opened() -> None:
    """A text that only looks like JSON stays a text."""
    row = fields(a="[1, 2]", b=' {"c": 3}', c="[no json", d="plain", e=[4])
    assert [row.opened(name) for name in "abcde"] == [[1, 2], {"c": 3}, "[no json", "plain", [4]]
    assert row.value("a") == "[1, 2]"
    assert row.opened("none") is None


def test_series_are_read_from_a_field_or_from_a_cell() -> None:
    """Integers become floats; nothing is no series."""
    row = fields(a=[[1, 2.5]], b="[[1, 2.5]]", c=[])
    assert row.series("a") == row.series("b") == ((1.0, 2.5),)
    assert row.series("c") == row.series("none") == ()


@pytest.mark.parametrize(
    ("value", "fault", "reason"),
    [
        ([[1], [2, None]], Fault.NOT_A_NUMBER, "series 2 holds null at point 2, which is not"),
        ([["a"]], Fault.NOT_A_NUMBER, "series 1 holds 'a' at point 1, which is not a usable"),
        ([[True]], Fault.NOT_A_NUMBER, "series 1 holds True at point 1"),
        ([[1e200]], Fault.NOT_A_NUMBER, "series 1 holds 1e+200 at point 1"),
        ([1, 2], Fault.RAGGED, "series 1 is a number, not a list of numbers"),
        ([[1, [2]]], Fault.RAGGED, "series 1 holds a list at point 2"),
        ("up", Fault.WRONG_TYPE, 'field "s" is text, not a list of series'),
        ({"a": 1}, Fault.WRONG_TYPE, 'field "s" is an object with "a", not a list of series'),
    ],
)
def test_a_value_that_is_no_number_is_named_by_its_place(
    value: Any, fault: Fault, reason: str
) -> None:
    """Series and points are counted from 1."""
    with pytest.raises(RowError) as caught:
        fields(s=value).series("s")
    assert caught.value.fault is fault
    assert str(caught.value).startswith(reason)


def test_a_field_holds_something_unless_it_is_empty() -> None:
    """Zero and false say something."""
    row = fields(a="", b=[], c={}, d=0, e=False, f="x")
    assert [name for name in "abcdefg" if row.holds(name)] == ["d", "e", "f"]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=4))
def test_every_value_has_a_kind(value: Any) -> None:
    """In words that fit behind "is"."""
    assert kind_of(value) in {"null", "true", "false", "a number", "text", "a list"}
    assert kind_of(value) in str(wrong_type("f", value, "a list of turns"))


def test_many_names_are_cut_and_control_characters_are_spelt_out() -> None:
    """A file may bring any name along."""
    assert listed(["a", "b"]) == "a, b"
    assert listed([f"n{place}" for place in range(9)], most=2) == "n0, n1 and 7 more"
    assert "\x1b" not in listed(["\x1b[31m"])
