"""From a table to rows: windows, questions, answers, and what is left out."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.rows import ENCODER
from tsplanner.datasets.records import Conversation, Fault
from tsplanner.datasets.series.table import Columns
from tsplanner.datasets.series.windows import Recipe, RowMaker
from tsplanner.errors import UsageError


def table(*values: object, **more: list[object]) -> Iterator[tuple[int, dict[str, object]]]:
    """A table that begins in line 2, with times 1, 2, 3 and the given columns."""
    for place, value in enumerate(values):
        others = {name: cells[place] for name, cells in more.items()}
        yield place + 2, {"t": str(place + 1), "flow": str(value), **others}


def recipe(**changes: object) -> Recipe:
    """Windows of three points, one column of values."""
    given: dict[str, object] = {
        "columns": Columns(values=("flow",), time="t"),
        "window": 3,
        "question": "Peak?",
        "answer": "{flow_max} at point {flow_max_at}.",
        **changes,
    }
    return Recipe(**given)  # type: ignore[arg-type]


def texts(row: Conversation) -> tuple[str, str]:
    """Question and answer of a row."""
    return row.turns[0].content, row.turns[1].content


def test_windows_follow_one_another_and_the_rest_is_counted() -> None:
    """Seven points make two windows of three; the seventh is in no row."""
    maker = RowMaker(recipe())
    first, second = maker.rows(table(1, 5, 2, 7, 3, 3, 9))
    assert texts(first) == ("flow: <ts><ts/> Peak?", "5 at point 2.")
    assert first.timeseries == ((1.0, 5.0, 2.0),)
    assert texts(second)[1] == "7 at point 1."
    assert (first.line, second.line) == (2, 5)
    assert (maker.made.rows, maker.made.points, maker.made.points_in_no_row) == (2, 7, 1)


@pytest.mark.parametrize(
    ("step", "lines", "in_no_row"),
    [(1, [2, 3, 4, 5, 6], 0), (2, [2, 4, 6], 0), (3, [2, 5], 1), (4, [2, 6], 1), (5, [2], 4)],
)
def test_a_step_sets_where_windows_begin(step: int, lines: list[int], in_no_row: int) -> None:
    """Seven points in lines 2 to 8; points between windows and after the last are counted."""
    maker = RowMaker(recipe(step=step))
    assert [row.line for row in maker.rows(table(1, 2, 3, 4, 5, 6, 7))] == lines
    assert maker.made.points_in_no_row == in_no_row


def test_without_a_window_each_series_is_a_row() -> None:
    """However their points lie among one another."""
    columns = Columns(values=("flow",), by="pump")
    maker = RowMaker(recipe(columns=columns, window=None, answer="{pump}: {flow_mean}"))
    rows = list(maker.rows(table(1, 10, 3, 30, pump=["a", "b", "a", "b"])))
    assert [texts(row)[1] for row in rows] == ["a: 2", "b: 20"]
    assert [row.timeseries for row in rows] == [((1.0, 3.0),), ((10.0, 30.0),)]


def test_an_answer_is_the_labels_of_the_windows_points() -> None:
    """Each label once, in order; a window without any is left out, with its lines."""
    columns = Columns(values=("flow",), labels="state")
    maker = RowMaker(recipe(columns=columns, question=None, answer=None))
    states: list[object] = ["ok", "leak", "ok", "", "", "leak", "", None, ""]
    rows = list(maker.rows(table(*range(9), state=states)))
    assert [texts(row) for row in rows] == [
        ("flow: <ts><ts/> state?", "ok, leak"),
        ("flow: <ts><ts/> state?", "leak"),
    ]
    (left_out,) = maker.made.left_out
    assert (left_out.line, left_out.fault) == (8, Fault.EMPTY_ANSWER)
    assert left_out.reason.startswith("lines 8 to 10: ")


def test_a_window_with_a_gap_is_left_out_and_names_the_gap() -> None:
    """Line 6 has no value: the second window, of lines 5 to 7, holds it."""
    maker = RowMaker(recipe())
    rows = list(maker.rows(table(1, 2, 3, 4, "", 6, 7, 8, 9)))
    assert [row.line for row in rows] == [2, 8]
    assert [each.reason for each in maker.made.left_out] == [
        "lines 5 to 7: line 6 has a value that cannot be used"
    ]
    assert [flaw.line for flaw in maker.reader.flaws] == [6]


@pytest.mark.parametrize(
    ("question", "asked", "series"),
    [
        ("Peak?", "flow: <ts><ts/>, heat: <ts><ts/> Peak?", (1.0, 4.0)),
        ("{series}. Peak?", "flow: <ts><ts/>, heat: <ts><ts/>. Peak?", (1.0, 4.0)),
        ("Does {heat} follow {flow}?", "Does <ts><ts/> follow <ts><ts/>?", (4.0, 1.0)),
        ("Does {heat} rise?", "flow: <ts><ts/> Does <ts><ts/> rise?", (1.0, 4.0)),
        ("<ts><ts/> against <ts><ts/>?", "<ts><ts/> against <ts><ts/>?", (1.0, 4.0)),
        ("{points} points from {start} to {end}, {flow}, {heat}", None, (1.0, 4.0)),
    ],
)
def test_series_come_in_the_order_in_which_the_question_names_them(
    question: str, asked: str | None, series: tuple[float, ...]
) -> None:
    """A series that it does not name stands before it."""
    columns = Columns(values=("flow", "heat"), time="t")
    maker = RowMaker(recipe(columns=columns, window=None, question=question, answer="Yes."))
    (row,) = maker.rows(table(1, 2, 3, heat=["4", "5", "6"]))
    text = "3 points from 1 to 3, <ts><ts/>, <ts><ts/>" if asked is None else asked
    assert texts(row)[0] == text
    assert tuple(values[0] for values in row.timeseries) == series


def test_figures_of_a_window_can_be_asked_for() -> None:
    """Largest 5 at the second point and time, smallest 1, mean 8 / 3, from 1 to 2."""
    answer = (
        "{flow_max:.1f} {flow_max_at} {flow_max_time} {flow_min} {flow_min_at} {flow_min_time} "
        "{flow_mean:.2f} {flow_first} {flow_last} {flow_trend}"
    )
    (row,) = RowMaker(recipe(answer=answer)).rows(table(1, 5, 2))
    assert texts(row)[1] == "5.0 2 2 1 1 1 2.67 1 2 rising"


def test_a_row_is_checked_as_rows_of_a_dataset_are() -> None:
    """The encoder of this test takes 64 points, and a mark in an answer is no series."""
    maker = RowMaker(recipe(window=None), ENCODER)
    assert list(maker.rows(table(*range(65)))) == []
    assert maker.made.left_out[0].fault is Fault.TOO_MANY_POINTS
    maker = RowMaker(recipe(answer="<ts>"))
    assert list(maker.rows(table(1, 2, 3))) == []
    assert maker.made.left_out[0].fault is Fault.MARKER_IN_ANSWER


def test_a_row_needs_an_answer_whose_fields_are_there() -> None:
    """The question's own fields are not the answer's: a series is no text."""
    with pytest.raises(UsageError, match="give --labels COLUMN, or --answer"):
        RowMaker(recipe(answer=None))
    with pytest.raises(UsageError, match='--answer has the field "flow", which there is not'):
        list(RowMaker(recipe(answer="{flow}")).rows(table(1, 2, 3)))


def test_a_sign_of_a_cell_cannot_stand_for_a_series() -> None:
    """The mark of a series within this program is a null sign."""
    columns = Columns(values=("flow",))
    maker = RowMaker(recipe(columns=columns, question="{note} {flow}", answer="Yes."))
    (row,) = maker.rows(table(1, 2, 3, note=["\x007\x00"] * 3))
    assert texts(row)[0] == "7 <ts><ts/>"


CELLS = st.one_of(
    st.text(max_size=6),
    st.none(),
    st.integers(),
    st.floats(),
    st.sampled_from(["1", "2.5", "-3e2", "1,5", "2024-01-31", "nan", "<ts>", "\x00"]),
)


@given(
    rows=st.lists(st.fixed_dictionaries({"t": CELLS, "a": CELLS, "b": CELLS, "note": CELLS})),
    window=st.none() | st.integers(1, 3),
    step=st.none() | st.integers(1, 4),
    by=st.sampled_from([None, "note"]),
)
def test_any_cells_make_rows_or_are_said_to_be_wrong(
    rows: list[dict[str, object]], window: int | None, step: int | None, by: str | None
) -> None:
    """Every point is in a row, in a row that was left out, or counted; no value is made up."""
    columns = Columns(values=("a", "b"), time="t", by=by)
    question, answer = "{note} {b} {points}?", "{a_max} {note} {b_trend} {start}"
    made = RowMaker(
        Recipe(columns=columns, window=window, step=step, question=question, answer=answer)
    )
    found = list(made.rows(enumerate(rows, start=2)))
    assert made.made.points == len(rows)
    assert made.made.points_in_no_row <= len(rows)
    assert len(found) == made.made.rows
    flawed = {flaw.line for flaw in made.reader.flaws}
    for row in found:
        assert all(math.isfinite(value) for series in row.timeseries for value in series)
        assert row.line not in flawed
    if step is None and window is not None:
        covered = (len(found) + len(made.made.left_out)) * window
        assert covered + made.made.points_in_no_row == len(rows)
