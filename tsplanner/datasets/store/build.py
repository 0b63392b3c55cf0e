"""Builds the token store of a dataset once; later runs and other processes find it there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import msgspec

from memory_models.frozen import frozen
from tsplanner.datasets.files.records import Span
from tsplanner.datasets.lengths.workers import answers_of_workers, worker_count
from tsplanner.datasets.records import DroppedRow, OnBad, ReadJob
from tsplanner.datasets.rows.drops import NO_FAULT_OF_THE_FILE
from tsplanner.datasets.rows.readers import raw_dataset, refuse
from tsplanner.datasets.series_encoding import normalised_series
from tsplanner.datasets.store.columns import Columns, StoredRow, StoreWriter, note_of, store_files
from tsplanner.datasets.store.keys import store_folder, store_key
from tsplanner.datasets.tokens.library import prepared
from tsplanner.datasets.tokens.reading import SMALL_BYTES, KeptRow, RowReader
from tsplanner.datasets.tokens.tokenizer import tokenizer_over
from tsplanner.errors import TsplannerError

Progress = Callable[[int, int, int], None]
"""Called with the bytes done, the bytes of the dataset and the rows so far."""


@frozen
class StoreJob:
    """A store to build."""

    read: ReadJob
    on_bad: str
    """``refuse``: a bad row is an error; ``drop``: bad rows are left out."""
    key: str
    folder: str


class _Part(msgspec.Struct):
    """The rows of one span."""

    columns: dict[str, bytes]
    lines: int
    first_bad: DroppedRow | None


def ensure_store(
    read: ReadJob,
    document: bytes,
    *,
    on_bad: str = OnBad.REFUSE,
    progress: Progress = lambda *_: None,
) -> tuple[Path, str]:
    """The folder and the key of a dataset's store, which is built where there is none.

    ``document``: the tokenizer as the bytes of a tokenizer.json. Processes that want the same store
    at the same time wait for the first of them.

    Raises TsplannerError: the dataset cannot be read, no row is left, or the disk is full.
    """
    folder, key = store_folder(), store_key(read, document, on_bad)
    if note_of(folder, key) is None:
        with _alone(folder, key):
            if note_of(folder, key) is None:
                job = StoreJob(read=read, on_bad=str(on_bad), key=key, folder=str(folder))
                build(job, document, progress)
                _forget_older(folder, key)
    return folder, key


def build(job: StoreJob, document: bytes, progress: Progress = lambda *_: None) -> None:
    """Tokenise a dataset into a store. Raises TsplannerError: as `ensure_store` does."""
    import tokenizers

    library = prepared(tokenizers.Tokenizer.from_str(document.decode()))
    reader = RowReader(job.read, tokenizer_over(library, document))
    total, done, lines, file = reader.raw.bytes, 0, 0, 0
    with StoreWriter(Path(job.folder), job.key) as writer, closing(_parts(reader)) as parts:
        for span, part in parts:
            if span.file != file:
                file, lines = span.file, 0
            if part.first_bad is not None and job.on_bad == OnBad.REFUSE:
                bad = part.first_bad
                refuse(reader.raw, replace(bad, line=bad.line + lines))
            writer.add(part.columns)
            lines, done = lines + part.lines, done + span.bytes
            progress(done, total, writer.rows)
        if not writer.rows:
            raise TsplannerError(
                f"No row of {reader.raw.name} is left at cutoff_len {job.read.cutoff_len}: "
                "raise --cutoff-len."
            )
        writer.finish({"dataset": list(job.read.source.paths)})


def _parts(reader: RowReader) -> Generator[tuple[Span, _Part], None, None]:
    """The rows of every span, in the order of the dataset."""
    spans, count = list(reader.raw.spans()), worker_count(reader.raw)
    if count == 1:
        for span in spans:
            yield span, _part(reader, span)
        return
    encode, decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(_Part).decode
    answers = answers_of_workers(
        lambda span: encode(_part(reader, span)), spans, count, reader.raw.name
    )
    with closing(answers):
        for span, answer in zip(spans, answers, strict=True):
            yield span, decode(answer)


def _part(reader: RowReader, span: Span) -> _Part:
    columns, first_bad = Columns(), None
    rows = reader.raw.span_rows(span)
    for row in reader.rows(rows):
        if isinstance(row, KeptRow):
            columns.add(stored(row))
        elif first_bad is None and row.fault not in NO_FAULT_OF_THE_FILE:
            first_bad = row
    reader.taken_remarks()
    return _Part(columns.to_bytes(), rows.lines, first_bad)


def stored(row: KeptRow) -> StoredRow:
    """A kept row as it is trained on."""
    return StoredRow(
        ids=row.tokens.ids,
        learned=row.tokens.learned,
        series=tuple(normalised_series(series) for series in row.row.timeseries),
    )


@contextmanager
def _alone(folder: Path, key: str) -> Iterator[None]:
    """Hold the lock of a store, which the system frees when its holder dies."""
    import filelock  # installed with [train]

    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / f"{key}.lock")
    try:
        with lock:
            yield
    except OSError as error:
        if isinstance(error, TimeoutError):
            raise
        raise TsplannerError(
            f"The tokens of the dataset cannot be kept in {folder} ({error.strerror}): free some "
            "space there, or name another folder in TSPLANNER_STATE."
        ) from error


def _forget_older(folder: Path, key: str) -> None:
    """Remove the stores of earlier states of the same files, read by the same settings."""
    asked = key.partition("-")[0]
    for note in folder.glob(f"{asked}-*.json"):
        if note.stem != key:
            for file in store_files(folder, note.stem):
                with suppress(OSError):
                    file.unlink(missing_ok=True)


def rows_store(
    read: ReadJob, document: bytes, *, on_bad: str, beat: Callable[[str], None]
) -> tuple[Path, str]:
    """`ensure_store`; a large store is built by a process of its own, which can fork workers.

    ``beat`` is called with a sentence now and then while it is built. Raises TsplannerError: as
    `ensure_store` does.
    """
    folder, key = store_folder(), store_key(read, document, on_bad)
    if note_of(folder, key) is not None:
        return folder, key
    if raw_dataset(read.source).bytes <= SMALL_BYTES:
        return ensure_store(read, document, on_bad=on_bad)
    job = {"read": msgspec.to_builtins(read), "on_bad": str(on_bad)}
    request = json.dumps({**job, "document": document.decode()}).encode()
    process = subprocess.Popen(
        [sys.executable, "-m", "tsplanner.datasets.store"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TOKENIZERS_PARALLELISM": "false"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        process.stdin.write(request)
        process.stdin.close()
        last = b""
        for last in process.stdout:
            beat(last.decode().strip())
    if process.returncode:
        raise TsplannerError(last.decode().strip() or "the dataset could not be tokenised")
    return folder, key
