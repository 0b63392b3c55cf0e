"""A dataset of several files: its rows, its spans and the places of rows."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tsplanner.datasets.files.dataset import RawDataset
from tsplanner.datasets.records import DroppedRow, Fault


def dataset(folder: Path) -> RawDataset:
    """Four files of 40, 2, 2 and 30 rows."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    lines = b"".join(b'{"n": %d}\n' % number for number in range(40))
    (folder / "a.jsonl").write_bytes(lines)
    (folder / "b.csv").write_bytes(b"n;m\n40;x\n41;y\n")
    (folder / "c.json").write_bytes(b'[{"n": 42},\n{"n": 43}]')
    pq.write_table(pa.table({"n": range(44, 74)}), folder / "d.parquet", row_group_size=10)
    (folder / "e.jsonl.gz").write_bytes(gzip.compress(b'{"n": 74}\n{"n": 75}\n'))
    return RawDataset([folder])


def test_all_rows_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    """Each with the line of its own file."""
    found = dataset(tmp_path)
    rows = list(found.rows())
    assert [int(json.loads(row.data)["n"]) for row in rows] == list(range(76))
    places = [(row.file, row.line) for row in rows]
    assert places[38:46] == [(0, 39), (0, 40), (1, 2), (1, 3), (2, 1), (2, 2), (3, 1), (3, 2)]
    row = DroppedRow(line=3, fault=Fault.NOT_JSON, reason="", file=1)
    assert found.place(row) == f"{tmp_path / 'b.csv'}:3"
    assert found.name == f"{tmp_path / 'a.jsonl'} and 4 more"


@pytest.mark.parametrize("span_bytes", [1, 50, 1 << 20])
def test_spans_give_all_rows_once_and_their_bytes_add_up(tmp_path: Path, span_bytes: int) -> None:
    """However small the spans, and lines of a span are counted from 1."""
    found = dataset(tmp_path)
    rows, before, file = [], 0, 0
    for span in found.spans(span_bytes):
        before, file = (0 if span.file != file else before), span.file
        part = found.span_rows(span)
        rows += [(span.file, before + row.line) for row in part]
        before += part.lines
    assert rows == [(row.file, row.line) for row in found.rows()]
    assert sum(span.bytes for span in found.spans(span_bytes)) == found.bytes


def test_a_separator_that_the_ending_does_not_say_is_noted(tmp_path: Path) -> None:
    """A semicolon in a file that ends in .csv."""
    assert dataset(tmp_path).notes == ('the cells of b.csv are separated by ";"',)
