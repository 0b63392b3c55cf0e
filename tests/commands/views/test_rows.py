"""Rows on the screen."""

from __future__ import annotations

import pytest

from tests.support.rows import conversation
from tsplanner.commands.views.rows import (
    bracketed,
    heading,
    legend,
    lines,
    print_row,
    shortened_row,
)
from tsplanner.commands.views.screen import Screen
from tsplanner.datasets.rendering.fixed import PlainRenderer
from tsplanner.datasets.shown import Part, RowViewer, ShownRow, Stretch

ROW = ShownRow(
    conversation=conversation("Q", "A", ((1.0, 2.0), (3.0,)), line=1200),
    stretches=(
        Stretch(text="user\nQ \t", part=Part.READ),
        Stretch(text="A\nB", part=Part.LEARNED),
        Stretch(text="\nC", part=Part.CUT),
    ),
)


def test_line_ends_are_signs_and_brackets_hold_what_is_learned(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """White space at the end of a line can be seen before its sign, and a tab is spelt out."""
    print_row(Screen(), ROW, 7)
    assert capsys.readouterr().out.splitlines() == [
        "row 7, line 1,200 · 2 series of 2, 1 points",
        "  user↵",
        "  Q \\t⟦A↵⟧",
        "  ⟦B⟧(cut: ↵)",
        "  (cut: C)",
    ]
    assert legend(Screen()) == "⟦ ⟧: tokens that carry loss"


def test_a_heading_counts_tokens() -> None:
    """After the cut, those that carry loss, and those that are cut."""

    def encode(text: str) -> tuple[list[int], list[tuple[int, int]]]:
        return list(range(len(text))), [(place, place + 1) for place in range(len(text))]

    shown = RowViewer(PlainRenderer(""), encode, 16).row(conversation("Q", "AB"))
    assert heading(shown, 1) == "row 1, line 1 · 16 tokens · 2 carry loss · 15 cut"


def test_a_long_row_loses_its_middle_and_says_how_much() -> None:
    """Beginning and end are whole: the question's start, and the answer's end."""
    long = (
        Stretch(text="a" * 50, part=Part.READ),
        Stretch(text="b" * 950, part=Part.LEARNED),
    )
    found = shortened_row(long, most=100)
    assert [(each.text, each.part) for each in found] == [
        ("a" * 50, Part.READ),
        (" … 900 characters more … ", Part.READ),
        ("b" * 50, Part.LEARNED),
    ]
    assert shortened_row(long, most=1000) == long


def test_a_speakers_turn_ends_its_line_without_a_sign() -> None:
    """That line end stands in no row."""
    stretches = (
        Stretch(text="user: ", part=Part.SPEAKER),
        Stretch(text="Q", part=Part.READ),
        Stretch(text="\n", part=Part.SPEAKER),
    )
    assert [bracketed(line) for line in lines(stretches)] == ["user: Q"]
