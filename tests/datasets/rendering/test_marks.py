"""Marks in a rendered text say where turns and generation blocks lie."""

from __future__ import annotations

from tsplanner.datasets.rendering.marks import Marker

MESSAGES = [{"role": "user"}, {"role": "assistant"}]


def test_marks_are_read_and_taken_out() -> None:
    """Two turns of a loop, the second with a generation block."""
    marker = Marker(MESSAGES, "<a><bc>!")
    text = (
        marker.turn(1, MESSAGES[0])
        + "<a>"
        + marker.turn(1, MESSAGES[1])
        + "<"
        + marker.generation(lambda: "bc")
        + ">"
        + marker.turn(1)
        + "!"
    )
    assert marker.read(text)
    assert marker.turns == [(0, 3), (3, 7)]
    assert marker.generations == [(4, 6)]


def test_a_loop_over_other_things_writes_no_mark() -> None:
    """A template may trim what such a loop wrote."""
    marker = Marker(MESSAGES, "")
    assert marker.turn(2, "a part") == ""
    assert marker.turn(2) == ""


def test_of_several_loops_the_one_that_writes_counts() -> None:
    """A loop that only looks for the last question writes nothing."""
    marker = Marker(MESSAGES, "abc")
    looked = marker.turn(1, MESSAGES[1]) + marker.turn(1, MESSAGES[0]) + marker.turn(1)
    written = marker.turn(2, MESSAGES[0]) + "ab" + marker.turn(2, MESSAGES[1]) + "c"
    assert marker.read(looked + written + marker.turn(2))
    assert marker.turns == [(0, 2), (2, 3)]


def test_another_text_than_the_one_without_marks_is_not_read() -> None:
    """The marks changed what the template does."""
    marker = Marker(MESSAGES, "abc")
    assert not marker.read(marker.turn(1, MESSAGES[0]) + "ab" + marker.turn(1))
    assert marker.turns == [None, None]


def test_a_row_that_holds_a_mark_gets_another_one() -> None:
    """Nothing that a row says is taken for a mark."""
    marker = Marker(MESSAGES, "\ufdd0")
    assert marker.read(marker.turn(1, MESSAGES[0]) + "\ufdd0" + marker.turn(1))
    assert marker.turns[0] == (0, 1)
