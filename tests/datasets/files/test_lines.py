"""Bytes of a file cut into rows."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tsplanner.datasets.rows.raw import RawRow, SpanRows, array_rows, file_bytes, is_array, raw_rows
from tsplanner.errors import TsplannerError


@given(
    lines=st.lists(st.sampled_from([b"", b" ", b"x", b"yy", b"zzz" * 9]), max_size=20),
    cuts=st.lists(st.integers(0, 60), max_size=5),
    ended=st.booleans(),
)
@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_spans_give_every_line_once_and_in_order(tmp_path, lines, cuts, ended):
    """Wherever a file is cut, a line belongs to the span that it begins in."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n" * ended)
    size = path.stat().st_size
    ends = sorted({min(cut, size) for cut in cuts} | {size})

    found, line = [], 0
    for start, end in zip([0, *ends], ends, strict=False):
        span = SpanRows(path, start, end)
        found += [(line + row.line, row.data) for row in span]
        line += span.lines

    kept = [(number, data) for number, data in enumerate(lines, start=1) if data.strip()]
    assert [(number, data.rstrip(b"\n")) for number, data in found] == kept


def test_an_array_has_rows_with_the_lines_they_start_on(tmp_path: Path) -> None:
    """A row of two lines moves the next one down."""
    path = tmp_path / "rows.json"
    path.write_bytes(b'\xef\xbb\xbf[{"a": 1},\n\n {"b":\n 2}, {"c": 3}]')
    assert is_array(path)
    rows = list(raw_rows(path))
    assert [(row.line, row.data) for row in rows] == [
        (1, b'{"a": 1}'),
        (3, b'{"b":\n 2}'),
        (4, b'{"c": 3}'),
    ]
    assert rows == list(array_rows(path))


def test_lines_lose_the_byte_order_mark_and_the_last_may_be_incomplete(tmp_path: Path) -> None:
    """A line end shows that a line was written whole."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf{}\n \n[]")
    assert not is_array(path)
    assert list(raw_rows(path)) == [RawRow(1, b"{}\n"), RawRow(3, b"[]", complete=False)]
    assert file_bytes(path) == 3 + 3 + 2 + 2


def test_an_array_that_is_broken_names_the_line_and_two_ways_out(tmp_path: Path) -> None:
    """The file can be fixed, or written as lines."""
    path = tmp_path / "rows.json"
    path.write_bytes(b'[{"a": 1},\n{"b" 2}]')
    with pytest.raises(TsplannerError) as caught:
        list(raw_rows(path))
    assert str(caught.value).startswith(f"{path}:2: starts like a JSON array but is not one (")
    assert str(caught.value).endswith("fix the file or write one row per line (.jsonl)")


@pytest.mark.parametrize("read", [file_bytes, is_array, lambda path: next(array_rows(path))])
def test_a_missing_file_names_the_flag(tmp_path: Path, read: Callable[[Path], object]) -> None:
    """Every way of reading says the same."""
    with pytest.raises(TsplannerError, match=r"cannot be read: No such file.*; check --dataset"):
        read(tmp_path / "none.jsonl")


def test_a_pipe_is_refused_without_being_opened(tmp_path: Path) -> None:
    """Nobody writes into it, so opening it would wait for ever."""
    path = tmp_path / "rows"
    os.mkfifo(path)
    with pytest.raises(TsplannerError, match="is a pipe or a device"):
        raw_rows(path)
    with pytest.raises(TsplannerError, match="is a pipe or a device"):
        raw_rows(Path("/dev/null"))
