"""Marks in a rendered text say where turns and generation blocks lie."""

from __future__ import annotations

import pytest

from tsplanner.datasets.rendering.environment import ChatTemplate
from tsplanner.datasets.rendering.marks import Marker

MESSAGES = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "bc"}]


def test_marks_are_read_and_taken_out() -> None:
    """Two turns of a loop, the second with a generation block."""
    marker = Marker(MESSAGES)
    text = (
        marker.turn(1, False, MESSAGES[0])
        + "<a>"
        + marker.turn(1, False, MESSAGES[1])
        + "<"
        + marker.generation(False, lambda: "bc")
        + ">"
        + marker.turn(1, False)
        + "!"
    )
    assert marker.read(text) == "<a><bc>!"
    assert marker.turns == [(0, 3), (3, 7)]
    assert marker.generations == [(4, 6)]
    assert not marker.is_lacking


def test_a_loop_over_other_things_writes_no_mark() -> None:
    """A template may trim what such a loop wrote."""
    marker = Marker(MESSAGES)
    assert marker.turn(2, True, "a part") == ""
    assert marker.turn(2, True) == ""
    assert not marker.is_lacking


def test_of_several_loops_the_one_that_writes_counts() -> None:
    """A loop that only looks for the last question writes nothing."""
    marker = Marker(MESSAGES)
    first, second = MESSAGES
    looked = marker.turn(1, False, second) + marker.turn(1, False, first) + marker.turn(1, False)
    written = marker.turn(2, False, first) + "ab" + marker.turn(2, False, second) + "c"
    assert marker.read(looked + written + marker.turn(2, False)) == "abc"
    assert marker.turns == [(0, 2), (2, 3)]


def test_a_text_that_holds_the_sign_of_marks_is_not_read() -> None:
    """Nothing that a row says is taken for a mark: another sign is taken for it."""
    marker = Marker(MESSAGES)
    assert (
        marker.read(marker.turn(1, False, MESSAGES[0]) + "\ufdd0" + marker.turn(1, False)) is None
    )
    row = [{"role": "user", "content": "\ufdd0\ufdd1"}, MESSAGES[1]]
    source = "{% for m in messages %}<{{ m.content }}>{% endfor %}"
    text, marker = ChatTemplate(source, {}).render_marked(row)
    assert text == "<\ufdd0\ufdd1><bc>"
    assert marker.turns == [(0, 4), (4, 8)]


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", False),
        ("{% generation %}{% for m in messages %}x{% endfor %}{% endgeneration %}", False),
        ("{% set t %}{% for m in messages %}x{% endfor %}{% endset %}{{ t | trim }}", True),
        ("{% macro w(all) %}{% for m in all %}x{% endfor %}{% endmacro %}{{ w(messages) }}", True),
        ("{% filter upper %}{% for m in messages %}x{% endfor %}{% endfilter %}", True),
        ("{% for m in messages recursive %}x{% endfor %}", True),
    ],
)
def test_texts_that_a_template_keeps_get_marks_where_nothing_else_helps(
    source: str, kept: bool
) -> None:
    """Without them the answer would not be found."""
    _, marker = ChatTemplate(source, {}).render_marked(MESSAGES)
    assert None not in marker.turns
    first = Marker(MESSAGES)
    assert first.turn(1, kept, MESSAGES[0]) == ("" if kept else "\ufdd01:0\ufdd0")
    assert first.is_lacking is kept
    assert Marker(MESSAGES, in_kept=True).turn(1, kept, MESSAGES[0]) != ""


def test_a_macro_that_only_counts_gets_no_mark() -> None:
    """Jamba's looks for the last question, and makes a number of what it wrote."""
    source = (
        "{% macro last(all) %}{% for m in all %}{% if m.role == 'user' %}{{ loop.index0 }}"
        "{% endif %}{% endfor %}{% endmacro %}{% set at = last(messages) | int %}"
        "{% for m in messages %}{{ '!' if loop.index0 == at else '?' }}{{ m.content }}{% endfor %}"
    )
    text, marker = ChatTemplate(source, {}).render_marked(MESSAGES)
    assert text == "!a?bc"
    assert marker.turns == [(0, 2), (2, 5)]
