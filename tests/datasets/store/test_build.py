"""Stores are built once, renewed when anything changes, and the same whoever builds them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.rows import ENCODER
from tests.support.tokenizer_files import SENTENCES, byte_level, saved
from tsplanner.datasets.records import DataSource, ReadJob
from tsplanner.datasets.store import build
from tsplanner.datasets.store.build import ensure_store, rows_store
from tsplanner.datasets.store.columns import COLUMNS, column_file
from tsplanner.datasets.tokens.reading import RowReader
from tsplanner.errors import TsplannerError

pytest.importorskip("filelock")


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state folder of its own."""
    monkeypatch.setenv("TSPLANNER_STATE", str(tmp_path / "state"))


def job(folder: Path, rows: int = 3, cutoff_len: int = 64) -> ReadJob:
    """Rows of a question and an answer, and a tokenizer without a template."""
    saved(byte_level(), folder)
    path = folder / "rows.jsonl"
    with path.open("w") as file:
        for number in range(rows):
            row = {"prompt": f"{SENTENCES[0]} {number}", "completion": SENTENCES[number % 3]}
            file.write(json.dumps(row) + "\n")
    return ReadJob(
        source=DataSource(paths=(str(path),)),
        cutoff_len=cutoff_len,
        encoder=None,
        tokenizer_folder=str(folder),
    )


def document(read: ReadJob) -> bytes:
    """The tokenizer's file."""
    assert read.tokenizer_folder is not None
    return (Path(read.tokenizer_folder) / "tokenizer.json").read_bytes()


def contents(folder: Path, key: str) -> list[bytes]:
    """The bytes of all columns."""
    return [column_file(folder, key, name).read_bytes() for name in COLUMNS]


def test_a_store_holds_the_rows_that_a_plan_counts(tmp_path: Path) -> None:
    """Ids of all kept rows, one behind the other."""
    read = job(tmp_path)
    folder, key = ensure_store(read, document(read))
    reader = RowReader(read)
    ids = b"".join(row.tokens.ids.tobytes() for row in reader.rows(reader.raw.rows()))
    assert contents(folder, key)[0] == ids


def test_a_store_is_used_until_something_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run builds nothing; another cutoff does, and so does a row more."""
    built = []
    own = build.build
    monkeypatch.setattr(build, "build", lambda *given: built.append(given[0].key) or own(*given))
    read = job(tmp_path)
    folder, first = ensure_store(read, document(read))
    assert ensure_store(read, document(read)) == (folder, first)
    assert len(built) == 1
    _, shorter = ensure_store(job(tmp_path, cutoff_len=32), document(read))
    longer = job(tmp_path, rows=4)
    _, renewed = ensure_store(longer, document(longer))
    assert len(built) == 3
    assert len({first, shorter, renewed}) == 3
    # The store of the file as it was before is of no use any more.
    assert not column_file(folder, first, "ids").exists()
    assert column_file(folder, shorter, "ids").exists()


@pytest.mark.slow
def test_two_workers_in_a_process_of_their_own_build_the_same_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dataset of three megabytes, in spans and at once."""
    read, said = job(tmp_path, rows=12_000), []
    folder, key = rows_store(read, document(read), on_bad="refuse", beat=said.append)
    parallel = contents(folder, key)
    monkeypatch.setenv("TSPLANNER_STATE", str(tmp_path / "other"))
    monkeypatch.setattr(build, "worker_count", lambda _: 1)
    alone, same = ensure_store(read, document(read))
    assert (alone, same) != (folder, key)
    assert contents(alone, same) == parallel


@pytest.mark.slow
def test_an_error_in_the_other_process_is_its_sentence(tmp_path: Path) -> None:
    """The line of the bad row is that of the file."""
    read = job(tmp_path, rows=12_000)
    with Path(read.source.paths[0]).open("a") as file:
        file.write('{"prompt": "a"\n')
    with pytest.raises(TsplannerError, match=r"rows\.jsonl:12001: is not JSON .*; fix the row or"):
        rows_store(read, document(read), on_bad="refuse", beat=lambda _: None)
    folder, key = rows_store(read, document(read), on_bad="drop", beat=lambda _: None)
    assert column_file(folder, key, "ids").exists()


def test_a_dataset_of_which_no_row_is_left_is_refused(tmp_path: Path) -> None:
    """A row with series is not cut."""
    read = job(tmp_path)
    row = {"input": "<ts><ts/> " * 9, "output": "Up.", "timeseries": [[1.0]] * 9}
    Path(read.source.paths[0]).write_text(json.dumps(row))
    short = ReadJob(
        source=read.source, cutoff_len=16, encoder=ENCODER, tokenizer_folder=read.tokenizer_folder
    )
    with pytest.raises(TsplannerError, match=r"No row of .* is left at cutoff_len 16: raise"):
        ensure_store(short, document(read))
