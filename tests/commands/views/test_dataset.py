"""What a person reads of a dataset: a histogram in one line, and the rows that were left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_models.settings import changed
from tsplanner.commands.views.dataset import (
    BARS,
    dataset_lines,
    dropped_line,
    histogram_bars,
    lengths_line,
    remark_lines,
)
from tsplanner.datasets.records import DroppedKind, Fault, LengthBin, Noticed, Remark
from tsplanner.planner.plan import no_dataset

BINS = (
    LengthBin(shortest=10, longest=99, rows=8),
    LengthBin(shortest=100, longest=199, rows=0),
    LengthBin(shortest=200, longest=1300, rows=1),
)
ROWS = changed(no_dataset(1300), histogram=BINS, quantiles=(10, 64, 1300), mean=150.0)


def test_the_highest_bar_is_the_fullest_bin_and_an_empty_bin_is_blank() -> None:
    """8 rows are eight eighths, 1 row is one, none is a gap."""
    assert histogram_bars(BINS) == "█ ▁"


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=40).filter(any))
def test_a_bin_with_any_row_is_never_blank(rows: list[int]) -> None:
    """However full the fullest bin is."""
    drawn = histogram_bars(tuple(LengthBin(shortest=0, longest=1, rows=count) for count in rows))
    assert len(drawn) == len(rows)
    for bar, count in zip(drawn, rows, strict=True):
        assert (bar == BARS[0]) is (count == 0)
    assert BARS[-1] in drawn


def test_lengths_are_told_from_the_shortest_to_the_longest_with_the_median() -> None:
    """The middle of the quantiles is the median."""
    assert lengths_line(ROWS) == "row lengths 10 █ ▁ 1,300 tokens, median 64"
    assert lengths_line(changed(ROWS, quantiles=())).endswith("median 150")


@pytest.mark.parametrize(
    ("text", "end"),
    [
        (60.0, " · mean 60 of text and 90 of series (60 %)"),
        (150.0, "median 64"),
        (None, "median 64"),
    ],
)
def test_series_are_told_apart_from_text_where_there_are_any(text: float | None, end: str) -> None:
    """150 positions on average, of which 60 are text."""
    assert lengths_line(changed(ROWS, mean_text=text)).endswith(end)


@pytest.mark.parametrize(
    ("rows", "first_lines", "words"),
    [
        (1, (7,), "left out 1 row, empty series: line 7 (series 1 is empty)"),
        (2, (7, 1200), "left out 2 rows, empty series: lines 7, 1,200 (series 1 is empty)"),
        (3, (7, 9), "left out 3 rows, empty series: lines 7, 9, … (series 1 is empty)"),
    ],
)
def test_rows_left_out_are_counted_with_the_first_of_their_lines(
    rows: int, first_lines: tuple[int, ...], words: str
) -> None:
    """Three dots stand for lines that are not named."""
    kind = DroppedKind(
        fault=Fault.EMPTY_SERIES, rows=rows, first_lines=first_lines, example="series 1 is empty"
    )
    assert dropped_line(kind) == words


def test_a_dataset_is_lengths_then_faults_then_the_list() -> None:
    """Nothing is said of what there is none of."""
    assert dataset_lines(no_dataset(100)) == []
    kind = DroppedKind(fault=Fault.NOT_JSON, rows=1, first_lines=(2,), example="is not JSON")
    dropped = changed(ROWS, dropped=(kind,), dropped_file="saves/dropped.txt")
    words = [line for line, _ in dataset_lines(dropped)]
    assert words == [
        lengths_line(ROWS),
        dropped_line(kind),
        "all rows left out are listed in saves/dropped.txt",
    ]


def test_what_holds_for_every_row_of_a_model_counts_no_rows() -> None:
    """A guess about rows says how many; a decision about the template stands alone."""
    remarks = (
        Remark(kind=Noticed.GUESS, text="The template writes a date.", rows=0, first_line=0),
        Remark(kind=Noticed.GUESS, text='role "bot": assistant', rows=2, first_line=7),
    )
    assert remark_lines(remarks) == [
        "The template writes a date.",
        'guessed: role "bot": assistant (2 rows, the first at line 7)',
    ]


def test_what_was_noticed_is_told_in_a_line_for_each_kind() -> None:
    """Guesses have lines of their own, with the first row of each."""
    remarks = (
        Remark(kind=Noticed.FILES, text="of data the split train is read", rows=0, first_line=0),
        Remark(kind=Noticed.FORM, text="alpaca", rows=1200, first_line=1),
        Remark(kind=Noticed.FORM, text="ShareGPT", rows=1, first_line=7),
        Remark(kind=Noticed.GUESS, text='role "bot": assistant', rows=2, first_line=7),
        *(Remark(kind=Noticed.IGNORED, text=f"f{n}", rows=3, first_line=1) for n in range(10)),
    )
    assert remark_lines(remarks) == [
        "of data the split train is read",
        "form: alpaca (1,200 rows), ShareGPT (1 row)",
        "fields not read: "
        + ", ".join(f"f{number} (3 rows)" for number in range(8))
        + " and 2 more",
        'guessed: role "bot": assistant (2 rows, the first at line 7)',
    ]
    assert remark_lines(()) == []
