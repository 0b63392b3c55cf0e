"""Parquet and Arrow files, as pyarrow writes them."""

from __future__ import annotations

import importlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tsplanner.datasets.files.columnar import BATCH_ROWS, ColumnarFile, batch_rows, pyarrow
from tsplanner.datasets.files.kinds import data_file
from tsplanner.datasets.files.records import DataFile, FileKind
from tsplanner.errors import TsplannerError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
ipc = pytest.importorskip("pyarrow.ipc")


def columnar(
    folder: Path, table: Any, how: str = "parquet", row_group_size: int | None = None
) -> ColumnarFile:
    """A table written and opened."""
    path = folder / f"rows.{how}"
    if how == "parquet":
        pq.write_table(table, path, row_group_size=row_group_size)
    else:
        new = ipc.new_file if how == "file" else ipc.new_stream
        with new(str(path), table.schema) as sink:
            sink.write_table(table, max_chunksize=row_group_size)
    return ColumnarFile(data_file(path))


def rows(file: ColumnarFile, start: int = 0, end: int | None = None) -> list[Any]:
    """Values of the rows of a span."""
    end = file.rows_total() if end is None else end
    return [json.loads(row.data) for row in file.rows(start, end)]


@pytest.mark.parametrize("how", ["parquet", "file", "stream"])
@given(
    spans=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=6),
    group=st.sampled_from([7, 20, 100]),
    batch=st.sampled_from([3, 512]),
)
@settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_spans_in_any_order_give_their_rows(
    tmp_path: Path, how: str, spans: list[tuple[int, int]], group: int, batch: int
) -> None:
    """Forwards a reader goes on where it stands; backwards it begins anew."""
    from unittest.mock import patch

    with patch("tsplanner.datasets.files.columnar.BATCH_ROWS", batch):
        file = columnar(tmp_path, pa.table({"n": list(range(60))}), how, group)
        assert file.rows_total() == 60
        for one, other in spans:
            low, high = sorted((one, other))
            found = list(file.rows(low, high))
            assert [json.loads(row.data)["n"] for row in found] == list(range(low, high))
            assert [row.line for row in found] == list(range(1, high - low + 1))


def test_nulls_that_fill_a_struct_are_no_fields(tmp_path: Path) -> None:
    """Of two calls with other arguments each keeps its own."""
    calls = [{"name": "a", "arguments": {"x": 1}}, {"name": "b", "arguments": {"y": "z"}}]
    turns = [{"role": "assistant", "content": None, "tool_calls": calls}]
    file = columnar(tmp_path, pa.Table.from_pylist([{"messages": turns, "system": None}]))
    assert rows(file) == [
        {"messages": [{"role": "assistant", "tool_calls": calls}], "system": None}
    ]


def test_values_without_a_form_in_json_keep_the_name_of_their_type(tmp_path: Path) -> None:
    """A date that a library guessed is not taken for the text that it was."""
    table = pa.table(
        {
            "when": pa.array([datetime(2024, 1, 3)], pa.timestamp("ns")),
            "raw": pa.array([b"abc"], pa.binary()),
            "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
            "word": pa.array(["x"]).dictionary_encode(),
            "numbers": [[1.5, None]],
        }
    )
    assert rows(columnar(tmp_path, table)) == [
        {
            "when": {"timestamp[ns]": "2024-01-03 00:00:00.000000000"},
            "raw": {"binary": "3 bytes"},
            "map": {"k": 1},
            "word": "x",
            "numbers": [1.5, None],
        }
    ]


def test_texts_that_are_json_by_their_type_are_opened(tmp_path: Path) -> None:
    """``datasets`` 5 writes turns of unequal fields so."""
    texts = pa.array(['{"role": "user", "content": "a"}'], pa.json_(pa.string()))
    turns = pa.ListArray.from_arrays(pa.array([0, 1]), texts)
    file = columnar(tmp_path, pa.table({"messages": turns}), "stream")
    assert rows(file) == [{"messages": [{"role": "user", "content": "a"}]}]
    # Contents of which one was a list of parts, too: the others are texts in quotes.
    contents = pa.array(['"a"', '[{"type": "text"}]'], pa.json_(pa.string()))
    structs = pa.StructArray.from_arrays(
        [pa.array(["user", "user"]), contents], ["role", "content"]
    )
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2]), structs)
    found = rows(columnar(tmp_path, pa.table({"messages": lists})))
    assert [row["messages"][0]["content"] for row in found] == ["a", [{"type": "text"}]]


def test_long_rows_are_held_in_smaller_numbers() -> None:
    """Of rows of a megabyte four are held, of rows of any size one at least."""
    assert batch_rows(100 * 2**20, 100) == 4
    assert batch_rows(10**9, 10**7) == BATCH_ROWS
    assert batch_rows(10**12, 3) == 1
    assert batch_rows(0, 0) == 1


def test_a_file_of_more_rows_than_a_batch_is_read_whole(tmp_path: Path) -> None:
    """One row group of three batches."""
    file = columnar(tmp_path, pa.table({"n": range(2 * BATCH_ROWS + 5)}))
    assert [row["n"] for row in rows(file)] == list(range(2 * BATCH_ROWS + 5))


@pytest.mark.parametrize("content", [b"PAR1", b"PAR1" + b"\0" * 40 + b"PAR1", b"ARROW1\0\0xx"])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    """With the file's name and kind."""
    path = tmp_path / "rows.parquet"
    path.write_bytes(content)
    with pytest.raises(TsplannerError, match=r"rows\.parquet is no whole (Parquet|Arrow) file"):
        ColumnarFile(data_file(path)).rows_total()


def test_an_old_pyarrow_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would read quotes and escapes into texts."""
    monkeypatch.setattr(pa, "__version__", "18.1.0")
    file = DataFile(path=Path("rows.parquet"), kind=FileKind.PARQUET, bytes=1)
    with pytest.raises(TsplannerError, match=r"pyarrow 18\.1\.0 is too old to read rows\.parquet"):
        pyarrow(file)


def test_without_pyarrow_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One sentence, before anything is read."""

    def gone(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", gone)
    file = DataFile(path=Path("rows.parquet"), kind=FileKind.PARQUET, bytes=1)
    with pytest.raises(
        TsplannerError, match=r"Parquet file, and pyarrow.*not installed: .*\[data\]"
    ):
        pyarrow(file)
