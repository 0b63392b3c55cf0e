"""Records of a dataset's files: what each holds, a part of one, and one raw row."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import msgspec

from memory_models.frozen import frozen
from tsplanner.datasets.records import Fault


class FileKind(StrEnum):
    """How the rows lie in a file."""

    LINES = "JSON lines"
    ARRAY = "JSON array"
    OBJECTS = "JSON objects over several lines"
    TABLE = "CSV"
    PARQUET = "Parquet"
    ARROW = "Arrow"


@frozen
class DataFile:
    """One file of a dataset."""

    path: Path
    kind: FileKind
    bytes: int
    """Size of the file as it lies there, compressed or not."""
    number: int = 0
    """Place among the files of the dataset, counted from 0."""
    compressed: bool = False
    """The file is a gzip stream."""
    separator: str = ","
    """What stands between two cells of a table."""


@frozen
class Span:
    """A part of one file that can be read by itself."""

    file: int
    """Number of the file."""
    start: int
    end: int
    """Bytes of JSON lines, rows of Parquet and Arrow; the other kinds are one span from 0."""
    bytes: int
    """Share of the file's size, for a progress bar."""


class RawRow(msgspec.Struct, frozen=True):
    """Bytes of one row, and where the row starts; a struct, since it is made for every row."""

    line: int
    """Line of the file, or row of a table in Parquet or Arrow, counted from 1."""
    data: bytes
    """A JSON object, if the row is a good one."""
    complete: bool = True
    """False for a last line without a line end, which may have been cut off."""
    fault: Fault | None = None
    """What the file's own reader found wrong; None: nothing."""
    reason: str = ""
    """The fault in words."""
    file: int = 0
    beside: tuple[str, ...] = ()
    """Fields beside the list of rows in an object that holds them all."""


class Rows(Protocol):
    """Rows of a span, whose lines are numbered within the span from 1."""

    lines: int
    """Lines read so far, empty ones too."""

    def __iter__(self) -> Iterator[RawRow]:
        """Rows in file order, empty lines left out."""
