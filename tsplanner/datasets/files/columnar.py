"""Rows of Parquet and Arrow files, read in small batches by pyarrow."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from tsplanner.datasets.files.records import DataFile, FileKind, RawRow
from tsplanner.datasets.files.signatures import ARROW_FILE
from tsplanner.errors import TsplannerError
from tsplanner.install import Extra, install_words

BATCH_ROWS, BATCH_BYTES = 512, 4 << 20
"""Rows that are held at a time: so many at most, and about so many bytes."""
BUFFER_BYTES = 1 << 16
"""Bytes of a column that are read at a time; without it pyarrow reads a row group whole."""


OLDEST_PYARROW = 19
JSON_TYPE = "extension<arrow.json>"
"""Type of texts that are JSON; ``datasets`` 5 writes turns of unequal fields as such texts."""


def pyarrow(file: DataFile) -> Any:
    """The library. Raises TsplannerError: it is not installed, or too old."""
    try:
        library = importlib.import_module("pyarrow")
    except ImportError as error:
        raise TsplannerError(
            f"{file.path} is a {file.kind} file, and pyarrow, which reads it, is not installed: "
            f"{install_words(Extra.DATA)}."
        ) from error
    # Older ones take texts that are JSON for plain texts, with quotes and escapes in them.
    if int(library.__version__.partition(".")[0]) < OLDEST_PYARROW:
        raise TsplannerError(
            f"pyarrow {library.__version__} is too old to read {file.path} rightly: "
            f"{install_words(Extra.DATA)}."
        )
    return library


def batch_rows(size: int, rows: int) -> int:
    """Rows to hold at a time, of so many that take ``size`` bytes."""
    return max(1, min(BATCH_ROWS, BATCH_BYTES * rows // max(size, 1)))


class ColumnarFile:
    """One Parquet or Arrow file, whose rows are read in ascending order.

    A reader that is asked for a span behind the last one goes on where it stands, because the rows
    of a large row group can be reached only through the rows before them.
    """

    def __init__(self, file: DataFile) -> None:
        """Raises TsplannerError: pyarrow is missing, or the file is damaged."""
        self.file = file
        self._library = pyarrow(file)
        self._batches: Iterator[Any] = iter(())
        self._batch: Any = None
        self._next = 0
        """Row behind the current batch, counted from 0."""
        self._process = 0
        """Process that opened the file: a copy made by a fork shares its place in the file."""

    def rows_total(self) -> int:
        """Number of rows. Raises TsplannerError: the file is damaged."""
        with _clear_errors(self.file, self._library):
            if self.file.kind is FileKind.PARQUET:
                return int(self._parquet().metadata.num_rows)
            return sum(batch.num_rows for batch in self._arrow_batches())

    def rows(self, start: int, end: int) -> ColumnarRows:
        """The rows from ``start`` to ``end``, counted from 0."""
        return ColumnarRows(self, start, end)

    def values(self, start: int, end: int) -> Iterator[dict[str, Any]]:
        """Rows as Python values, from ``start`` to ``end``."""
        with _clear_errors(self.file, self._library):
            for batch, first in self._reaching(start):
                low, high = max(start - first, 0), min(end - first, batch.num_rows)
                yield from _rows(batch.slice(low, high - low), self._library)
                if first + batch.num_rows >= end:
                    return

    def _reaching(self, start: int) -> Iterator[tuple[Any, int]]:
        """Batches that hold row ``start`` or a later one, each with its first row."""
        known = self._batch is not None and self._process == os.getpid()
        if not known or self._next - self._batch.num_rows > start:
            self._open(start)
        elif self._next > start:
            yield self._batch, self._next - self._batch.num_rows
        for batch in self._batches:
            self._batch, self._next = batch, self._next + batch.num_rows
            if self._next > start:
                yield batch, self._next - batch.num_rows

    def _open(self, start: int) -> None:
        """Open the file at the row group that holds row ``start``."""
        self._next, self._process = 0, os.getpid()
        if self.file.kind is FileKind.ARROW:
            self._batches = self._arrow_batches()
            return
        opened = self._parquet()
        group = 0
        while group + 1 < opened.num_row_groups and (
            self._next + (rows := opened.metadata.row_group(group).num_rows) <= start
        ):
            self._next, group = self._next + rows, group + 1
        groups = range(group, opened.num_row_groups)
        parts = (opened.metadata.row_group(place) for place in range(opened.num_row_groups))
        size, rows = sum(part.total_byte_size for part in parts), opened.metadata.num_rows
        self._batches = opened.iter_batches(
            batch_rows(size, rows), row_groups=groups, use_threads=False
        )

    def _parquet(self) -> Any:
        library = importlib.import_module("pyarrow.parquet")
        return library.ParquetFile(self.file.path, pre_buffer=False, buffer_size=BUFFER_BYTES)

    def _arrow_batches(self) -> Iterator[Any]:
        library = importlib.import_module("pyarrow.ipc")
        with self._library.memory_map(str(self.file.path)) as stream:
            if stream.read(len(ARROW_FILE)) == ARROW_FILE:
                opened = library.open_file(stream)
                whole = (opened.get_batch(number) for number in range(opened.num_record_batches))
            else:
                stream.seek(0)
                whole = iter(library.open_stream(stream))
            for batch in whole:
                step = batch_rows(batch.nbytes, batch.num_rows)
                for first in range(0, batch.num_rows, step):
                    yield batch.slice(first, step)


class ColumnarRows:
    """Rows of a span, numbered from 1."""

    def __init__(self, file: ColumnarFile, start: int, end: int) -> None:
        self._file, self._start, self._end = file, start, end
        self.lines = 0
        """Rows read so far."""

    def __iter__(self) -> Iterator[RawRow]:
        """The rows. Raises TsplannerError: the file is damaged."""
        encode = msgspec.json.Encoder().encode
        number = self._file.file.number
        for row in self._file.values(self._start, self._end):
            self.lines += 1
            yield RawRow(self.lines, encode(row), file=number)


def _rows(batch: Any, library: Any) -> Iterator[dict[str, Any]]:
    """Rows of a batch as Python values that JSON can hold."""
    names, columns = batch.schema.names, []
    for column in batch.columns:
        kind = column.type
        # Python has no nanoseconds.
        readable = column.cast(library.string()) if library.types.is_temporal(kind) else column
        values, clean = readable.to_pylist(), _column_cleaner(kind, library)
        columns.append(values if clean is None else [clean(value) for value in values])
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True))


Cleaner = Callable[[Any], Any]


def _column_cleaner(kind: Any, library: Any) -> Cleaner | None:
    """Like `_cleaner`, but turns keep their nulls, for the reader of turns leaves them out itself.

    Most rows are lists of turns, and cleaning them would double the time that a row takes.
    """
    types = library.types
    if types.is_list(kind) or types.is_large_list(kind):
        turn = kind.value_type
        if types.is_struct(turn) and all(_cleaner(each.type, library) is None for each in turn):
            return None
    return _cleaner(kind, library)


def _cleaner(kind: Any, library: Any) -> Cleaner | None:
    """What makes a value of a column one that JSON holds; None: every value of it is one.

    A library that writes such files gives all structs of a column the same fields and fills what
    a row does not have with nulls, so a null in a struct is a field that is not there. A value
    that is neither text nor number is kept beside the name of its type, so that nobody takes it
    for the text that it once was.
    """
    if str(kind) == JSON_TYPE:
        return lambda value: None if value is None else msgspec.Raw(value.encode())
    if isinstance(kind, library.BaseExtensionType):
        return _cleaner(kind.storage_type, library)
    types = library.types
    if types.is_dictionary(kind):
        return _cleaner(kind.value_type, library)
    if types.is_struct(kind):
        return _struct_cleaner({each.name: _cleaner(each.type, library) for each in kind})
    if types.is_map(kind):
        return _map_cleaner(_cleaner(kind.item_type, library))
    if types.is_nested(kind):  # lists of every sort
        return _list_cleaner(_cleaner(kind.value_type, library))
    plain = (types.is_string, types.is_large_string, types.is_integer, types.is_floating)
    if any(each(kind) for each in (*plain, types.is_boolean, types.is_null)):
        return None
    return lambda value: None if value is None else {str(kind): _shown(value)}


def _shown(value: Any) -> str:
    return f"{len(value)} bytes" if isinstance(value, bytes) else str(value)


def _struct_cleaner(fields: dict[str, Cleaner | None]) -> Cleaner:
    inner = {name: clean for name, clean in fields.items() if clean is not None}

    def clean(value: Any) -> Any:
        if value is None:
            return None
        found = {name: each for name, each in value.items() if each is not None}
        for name, inner_clean in inner.items():
            if name in found:
                found[name] = inner_clean(found[name])
        return found

    return clean


def _map_cleaner(inner: Cleaner | None) -> Cleaner:
    def clean(value: Any) -> Any:
        pairs = value if inner is None or value is None else [(k, inner(v)) for k, v in value]
        return None if pairs is None else {str(key): each for key, each in pairs}

    return clean


def _list_cleaner(inner: Cleaner | None) -> Cleaner | None:
    if inner is None:
        return None
    return lambda value: None if value is None else [inner(each) for each in value]


@contextmanager
def _clear_errors(file: DataFile, library: Any) -> Iterator[None]:
    """Turn the library's errors into one sentence that names the file."""
    try:
        yield
    except (library.ArrowException, OSError, UnicodeDecodeError) as error:
        raise TsplannerError(
            f"dataset {file.path} is no whole {file.kind} file ({error!s:.120}); fetch it again"
        ) from error
