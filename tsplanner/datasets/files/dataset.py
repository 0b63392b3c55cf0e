"""A dataset of one or several files as its raw rows, whole or in spans."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from tsplanner.datasets.files.columnar import ColumnarFile
from tsplanner.datasets.files.folders import dataset_files
from tsplanner.datasets.files.kinds import data_file
from tsplanner.datasets.files.lines import PackedLines, SpanRows
from tsplanner.datasets.files.objects import ArrayRows, ObjectRows
from tsplanner.datasets.files.records import DataFile, FileKind, RawRow, Rows, Span
from tsplanner.datasets.files.tables import TableRows

SPAN_BYTES = 4 << 20
"""Bytes of a file that are read between two reports of progress."""


class Placed(Protocol):
    """A row that stands somewhere in a dataset, and what is said of it."""

    @property
    def line(self) -> int:
        """Line where the row starts, counted from 1."""

    @property
    def file(self) -> int:
        """Number of the file among the files of the dataset, counted from 0."""

    @property
    def reason(self) -> str:
        """What is said of it."""


class RawDataset:
    """The files of a dataset and the way to their rows."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Raises TsplannerError: a path is no file of rows, and no folder of such files."""
        found = dataset_files(paths)
        self.files = tuple(
            data_file(path, number=number) for number, path in enumerate(found.paths)
        )
        self.notes = (*found.notes, *_separators(self.files))
        """What was guessed or left out to find the files, a clause each."""
        self._columnar: dict[int, ColumnarFile] = {}

    @property
    def name(self) -> str:
        """The files for a sentence."""
        first, *more = self.files
        return f"{first.path} and {len(more)} more" if more else str(first.path)

    def place(self, row: Placed) -> str:
        """Where a row stands, as ``file:line``."""
        return f"{self.files[row.file].path}:{row.line}"

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files)

    def rows(self) -> Iterator[RawRow]:
        """All rows, each with the line of its file. Raises TsplannerError: a file is damaged."""
        for file in self.files:
            yield from self.span_rows(Span(file=file.number, start=0, end=self._end(file), bytes=0))

    def spans(self, span_bytes: int = SPAN_BYTES) -> Iterator[Span]:
        """Parts of all files in order, each about ``span_bytes`` of a file.

        Only JSON lines, Parquet and Arrow can be read from the middle; the other files are one
        span each. Raises TsplannerError: a file is damaged.
        """
        for file in self.files:
            end = self._end(file)
            parts = max(1, -(-file.bytes // span_bytes)) if self._has_spans(file) else 1
            for part in range(parts):
                low, high = end * part // parts, end * (part + 1) // parts
                share = file.bytes * (part + 1) // parts - file.bytes * part // parts
                yield Span(file=file.number, start=low, end=high, bytes=share)

    def span_rows(self, span: Span) -> Rows:
        """The rows of a span, whose lines are numbered within the span from 1."""
        file = self.files[span.file]
        if file.kind in (FileKind.PARQUET, FileKind.ARROW):
            return self._columns(file).rows(span.start, span.end)
        if file.kind is FileKind.TABLE:
            return TableRows(file)
        if file.kind is FileKind.ARRAY:
            return ArrayRows(file)
        if file.kind is FileKind.OBJECTS:
            return ObjectRows(file)
        if file.compressed:
            return PackedLines(file.path, file=file.number)
        return SpanRows(file.path, span.start, span.end, file=file.number)

    @staticmethod
    def _has_spans(file: DataFile) -> bool:
        """Whether the rows of a file can be read from the middle."""
        kinds = (FileKind.LINES, FileKind.PARQUET, FileKind.ARROW)
        return file.kind in kinds and not file.compressed

    def _columns(self, file: DataFile) -> ColumnarFile:
        if file.number not in self._columnar:
            self._columnar[file.number] = ColumnarFile(file)
        return self._columnar[file.number]

    def _end(self, file: DataFile) -> int:
        """Where the last span of a file ends."""
        if file.kind in (FileKind.PARQUET, FileKind.ARROW):
            return self._columns(file).rows_total()
        return file.bytes


def _separators(files: Sequence[DataFile]) -> Iterator[str]:
    """Tables whose cells are not separated by what their ending says."""
    for file in files:
        if file.kind is FileKind.TABLE and file.separator in ";|":
            yield f'the cells of {file.path.name} are separated by "{file.separator}"'
