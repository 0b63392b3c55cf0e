"""Templates of questions and answers: named fields, and nothing that could reach an object."""

from __future__ import annotations

import pytest

from tsplanner.datasets.series.templates import template, written
from tsplanner.errors import UsageError


def test_fields_are_filled_and_doubled_braces_are_braces() -> None:
    """As by str.format."""
    made = template("{a}: {{x}} at {b:.1f} %", ("a", "b"), "--answer")
    assert made.names == ("a", "b")
    assert made.filled({"a": "flow", "b": 2.25}) == "flow: {x} at 2.2 %"


def test_a_number_has_six_digits_and_a_whole_one_no_point() -> None:
    """Unless a format says otherwise."""
    assert [written(value) for value in (12.0, 1 / 3, 3, 1234567.0)] == [
        "12",
        "0.333333",
        "3",
        "1234567",
    ]
    assert written(2.6, "d") == "3"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{flow_mx}", '--answer has the field "flow_mx", which there is not. Did you mean'),
        ("{flow_max.__class__}", 'the field "flow_max.__class__", which there is not'),
        ("{flow_max[0]}", 'the field "flow_max[0]", which there is not'),
        ("{flow_max!r}", '--answer is no template: "!r" is not taken'),
        ("{flow_max:999999999999}", 'the format "999999999999"'),
        ("{flow_max:{flow_max}}", 'the format "{flow_max}"'),
        ("{}", 'the field ""'),
        ("a } b", "--answer is no template: Single '}'"),
    ],
)
def test_a_field_is_a_name_and_nothing_else(text: str, said: str) -> None:
    """Neither attributes nor items, conversions or widths: a row's text cannot reach an object."""
    with pytest.raises(UsageError) as error:
        template(text, ("flow_max",), "--answer")
    assert said in str(error.value)
