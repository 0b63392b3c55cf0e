"""Texts that the JSON reader of ``datasets`` would take for times."""

from __future__ import annotations

import pytest

from tsplanner.errors import TsplannerError
from tsplanner.exporters.rows.mistyped import BLOCK_BYTES, DATE, Mistyped, strings


@pytest.mark.parametrize(
    ("text", "is_date"),
    [
        ("2024-01-03", True),
        ("2024-01-03T10:00:00Z", True),
        ("2024-01-03 10:00", True),
        ("On 2024-01-03", False),
        ("2024-01-03.", False),
        ("12:30", False),
        ("", False),
    ],
)
def test_dates_are_known_by_their_form(text: str, is_date: bool) -> None:
    """ISO 8601, with or without a time."""
    assert (DATE.fullmatch(text) is not None) is is_date


def test_a_field_is_named_by_its_path() -> None:
    """Turns of a dialogue share a field, as they share a column."""
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}], "n": 1}
    assert list(strings(row, "")) == [
        ("messages.role", "user"),
        ("messages.content", "a"),
        ("messages.role", "tool"),
        ("messages.content", "b"),
    ]


def test_one_other_text_near_it_keeps_a_date_a_text() -> None:
    """A megabyte on there is none, and the reader would look at that stretch alone."""
    seen = Mistyped()
    seen.see({"answer": "2024-01-03"}, 20)
    seen.see({"answer": "never"}, BLOCK_BYTES)
    seen.refuse()
    seen.see({"answer": "2024-01-04"}, 20)
    with pytest.raises(TsplannerError, match=r"field answer .* export with --rows tokens"):
        seen.refuse()
