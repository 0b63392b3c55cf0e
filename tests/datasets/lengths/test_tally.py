"""Counts of rows by length."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.support.rows import ENCODER, chatts
from tsplanner.datasets.files.records import Span
from tsplanner.datasets.lengths.tally import RowCounter, Tally, padded_tokens
from tsplanner.datasets.records import DataSource, Fault, ReadJob
from tsplanner.datasets.tokens.reading import RowReader

COUNTS = st.lists(st.tuples(st.integers(1, 99), st.integers(0, 99)), max_size=8)


def tally_of(rows: list[tuple[int, int]]) -> Tally:
    """Count rows of (text tokens, positions that their series add)."""
    tally = Tally(lines=len(rows))
    for tokens, extra in rows:
        tally.count(tokens, extra)
    return tally


@given(tokens=st.integers(0, 10**6))
def test_text_is_padded_to_the_next_multiple_of_eight(tokens: int) -> None:
    """Padding is less than 8 tokens, and nothing is cut."""
    assert padded_tokens(tokens) % 8 == 0
    assert 0 <= padded_tokens(tokens) - tokens < 8


def test_a_row_counts_as_text_as_positions_and_padded() -> None:
    """10 tokens and two series of 5 and 3 patches: 16 positions, 22 when padded, 8 patches."""
    tally = Tally()
    tally.count(10, 3 + 1, series=2)
    assert (tally.texts, tally.lengths, tally.padded) == ({10: 1}, {14: 1}, {20: 1})
    assert (tally.series_total, tally.series_most, tally.patches_most) == (4, 4, 8)


@given(first=COUNTS, second=COUNTS)
def test_counts_of_two_spans_add_up_to_the_counts_of_all(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    """It does not matter where a file is cut."""
    total = tally_of(first)
    total.add(tally_of(second))
    assert total == tally_of(first + second)
    assert total.rows == len(first) + len(second)


def test_a_span_numbers_its_lines_from_one_and_keeps_its_faults(tmp_path: Path) -> None:
    """The second half of a file counts its own lines."""
    lines = [chatts("a", "b", [1.0]) + b"\n", b"\n", b"{\n", chatts("a", "b", [1.0] * 80)]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(lines))
    job = ReadJob(
        source=DataSource(paths=(str(path),)),
        cutoff_len=300,
        encoder=ENCODER,
        tokenizer_folder=None,
    )
    counter = RowCounter(RowReader(job))
    start, size = len(lines[0]), path.stat().st_size
    second = counter.span(Span(file=0, start=start, end=size, bytes=0))
    assert counter.reader.counted_by == "estimate"
    assert (second.lines, second.rows) == (3, 0)
    assert [(row.line, row.fault) for row in second.dropped] == [
        (2, Fault.NOT_JSON),
        (3, Fault.TOO_MANY_POINTS),
    ]
    assert counter.span(Span(file=0, start=0, end=start, bytes=0)).rows == 1


def test_text_rows_carry_the_template_and_are_cut_to_the_cutoff(tmp_path: Path) -> None:
    """Four characters are a token: 2 and 1 tokens with 45 of the template, or the cutoff."""
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"instruction": "abcdefgh", "output": "abcd"}))
    for cutoff_len, length in ((512, 48), (40, 40)):
        job = ReadJob(
            source=DataSource(paths=(str(path),)),
            cutoff_len=cutoff_len,
            encoder=None,
            tokenizer_folder=None,
        )
        counter = RowCounter(RowReader(job))
        (span,) = counter.reader.raw.spans()
        assert counter.span(span).lengths == {length: 1}
