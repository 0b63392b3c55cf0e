"""Rows of a store as sequences."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tsplanner.datasets.store.columns import Columns, StoredRow, StoreWriter
from tsplanner.training.batches import EncodedSample
from tsplanner.training.stored_rows import RowsAt, StoredRows, row_tokens


@pytest.fixture
def rows(tmp_path: Path) -> StoredRows:
    """Rows of 2, 1 and 3 tokens; the last has two series."""
    columns = Columns()
    columns.add(StoredRow(ids=array("i", [5, 6]), learned=((1, 2),)))
    columns.add(StoredRow(ids=array("i", [7]), learned=((0, 1),)))
    series = ((0.5, 1.5), (2.5,))
    columns.add(StoredRow(ids=array("i", [1, 2, 3]), learned=((0, 1), (2, 3)), series=series))
    with StoreWriter(tmp_path, "k") as writer:
        writer.add(columns.to_bytes())
        writer.finish({})
    return StoredRows(tmp_path, "k")


def test_a_row_is_its_ids_its_labels_and_its_series(rows: StoredRows) -> None:
    """Tokens without loss have the label -100."""
    assert len(rows) == 3
    assert rows[0].input_ids.tolist() == [5, 6]  # type: ignore[union-attr]
    assert rows[0].labels.tolist() == [-100, 6]  # type: ignore[union-attr]
    assert rows[-1].labels.tolist() == [1, -100, 3]  # type: ignore[union-attr]
    assert [values.tolist() for values in rows[2].series] == [[0.5, 1.5], [2.5]]  # type: ignore[union-attr]
    with pytest.raises(IndexError):
        rows[3]


def test_some_rows_keep_their_own_order(rows: StoredRows) -> None:
    """A part of a part, too."""
    part = rows[::2]
    assert isinstance(part, RowsAt)
    assert [len(row.input_ids) for row in part] == [2, 3]
    assert [len(row.input_ids) for row in part[1:]] == [3]


def test_lengths_are_known_without_reading_rows(rows: StoredRows) -> None:
    """Of a store, of a part of it and of rows in memory."""
    assert list(row_tokens(rows)) == [2, 1, 3]
    assert list(row_tokens(rows[1:])) == [1, 3]
    assert row_tokens([EncodedSample(input_ids=[1, 2], labels=[1, 2])]) == [2]
