"""Files of a store: written whole or not at all, and known to be whole."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest

from tsplanner.datasets.store.columns import (
    COLUMNS,
    Columns,
    StoredRow,
    StoreWriter,
    column_file,
    note_of,
)
from tsplanner.errors import TsplannerError

FIRST = StoredRow(ids=array("i", [5, 6, 7]), learned=((1, 3),), series=((0.5, -0.5), (1.0,)))
SECOND = StoredRow(ids=array("i", [8]), learned=((0, 1),))


def of(*rows: StoredRow) -> dict[str, bytes]:
    """The columns of rows, as a worker sends them."""
    columns = Columns()
    for row in rows:
        columns.add(row)
    return columns.to_bytes()


def numbers(folder: Path, name: str) -> list[float]:
    """What a column's file holds."""
    return array(COLUMNS[name], column_file(folder, "k", name).read_bytes()).tolist()


def test_parts_of_a_dataset_are_joined_with_their_ends_counted_on(tmp_path: Path) -> None:
    """Rows of 3, 1 and 3 tokens end at 3, 4 and 7; their series at 2, 3, 5 and 6 points."""
    with StoreWriter(tmp_path, "k") as writer:
        writer.add(of(FIRST, SECOND))
        writer.add(of(FIRST))
        writer.finish({"dataset": ["rows.jsonl"]})
    assert numbers(tmp_path, "ids") == [5, 6, 7, 8, 5, 6, 7]
    assert numbers(tmp_path, "rows") == [3, 1, 2, 4, 2, 2, 7, 3, 4]
    assert numbers(tmp_path, "learned") == [1, 3, 0, 1, 1, 3]
    assert numbers(tmp_path, "series") == [2, 3, 5, 6]
    note = note_of(tmp_path, "k")
    assert note is not None
    assert (note["rows"], note["dataset"]) == (3, ["rows.jsonl"])


def test_a_store_that_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    """A killed or failed run is begun anew."""
    with StoreWriter(tmp_path, "k") as writer:
        writer.add(of(FIRST))
    assert list(tmp_path.iterdir()) == []
    assert note_of(tmp_path, "k") is None


def test_a_shortened_file_is_no_store(tmp_path: Path) -> None:
    """Its note says how many numbers it had."""
    with StoreWriter(tmp_path, "k") as writer:
        writer.add(of(FIRST))
        writer.finish({})
    assert note_of(tmp_path, "k") is not None
    column_file(tmp_path, "k", "ids").write_bytes(b"\0" * 4)
    assert note_of(tmp_path, "k") is None


def test_a_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the folder and the way out; /dev/full is a disk without room."""
    with StoreWriter(tmp_path, "k") as writer, Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setitem(writer._handles, "ids", full)
        with pytest.raises(TsplannerError, match=r"cannot be written to .*TSPLANNER_STATE"):
            writer.add(of(FIRST))
