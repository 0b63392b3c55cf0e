"""A dataset file as the bytes of its rows; only the brackets of a JSON array are decoded.

A JSONL file is read line by line and never held whole, and several processes may read spans of it.
A JSON array is held as text, since only a parser finds the boundaries of its rows.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from tsplanner.errors import TsplannerError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BUFFER_BYTES = 1 << 20
_BYTE = re.compile(r"\(byte (\d+)\)")


@dataclass(frozen=True, slots=True)
class RawRow:
    """Bytes of one row, and the line where it starts."""

    line: int
    data: bytes
    complete: bool = True
    """False for a last line without a line end, which may have been cut off."""


def raw_rows(path: Path) -> Iterator[RawRow]:
    """The rows of a file in order, empty lines left out.

    Raises TsplannerError: file missing or not readable; an array that is not one.
    """
    if is_array(path):
        return array_rows(path)
    return iter(SpanRows(path, 0, file_bytes(path)))


def _require_file(path: Path) -> None:
    """Refuse a pipe, which can be read only once, and a device, which may have no end."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return  # opening it says what is wrong
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise TsplannerError(
            f"dataset {path} is a pipe or a device, and rows are read more than once: write them "
            "into a file and give that as --dataset"
        )


def file_bytes(path: Path) -> int:
    """Size of a file. Raises TsplannerError: the file is missing."""
    try:
        return path.stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from error


def is_array(path: Path) -> bool:
    """Whether a file starts like a JSON array. Raises TsplannerError: the file cannot be read."""
    _require_file(path)
    try:
        with path.open("rb") as stream:
            start = stream.read(4096)
    except OSError as error:
        raise _unreadable(path, error) from error
    return start.removeprefix(BYTE_ORDER_MARK).lstrip().startswith(b"[")


class SpanRows:
    """The lines that begin at bytes ``start`` to ``end`` of a file, numbered from 1."""

    def __init__(self, path: Path, start: int, end: int) -> None:
        self.path, self.start, self.end = path, start, end
        self.lines = 0
        """Lines read so far, empty ones too."""

    def __iter__(self) -> Iterator[RawRow]:
        """Every line that is not empty. Raises TsplannerError: the file cannot be read."""
        try:
            with self.path.open("rb", buffering=_BUFFER_BYTES) as stream:
                yield from self._rows(stream)
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def _rows(self, stream: BinaryIO) -> Iterator[RawRow]:
        position = self.start
        if position:
            # A line belongs to the span where it begins, so this span skips the rest of an earlier
            # line. Reading from one byte before ``start`` keeps a line that begins right at it.
            stream.seek(position - 1)
            position += len(stream.readline()) - 1
        while position < self.end and (data := stream.readline()):
            self.lines += 1
            content = data if position else data.removeprefix(BYTE_ORDER_MARK)
            position += len(data)
            if content and not content.isspace():
                yield RawRow(self.lines, content, content.endswith(b"\n"))


def array_rows(path: Path) -> Iterator[RawRow]:
    """Rows of one JSON array, each with the line where it starts.

    Raises TsplannerError: file not readable, or no array.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        rows = msgspec.json.decode(data.removeprefix(BYTE_ORDER_MARK), type=list[msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        found = _BYTE.search(str(error))
        line = 1 + data[: int(found.group(1))].count(b"\n") if found else 1 + data.count(b"\n")
        raise TsplannerError(
            f"{path}:{line}: starts like a JSON array but is not one ({error}); "
            "fix the file or write one row per line (.jsonl)"
        ) from error
    line, position = 1, 0
    for row in rows:
        content = bytes(row)
        # The decoder gives the bytes of a row without their place. Rows come in order, with nothing
        # but white space and commas between them, so the next occurrence is the row itself.
        start = data.find(content, position)
        line += data.count(b"\n", position, start)
        yield RawRow(line, content)
        line += content.count(b"\n")
        position = start + len(content)


def _unreadable(path: Path, error: OSError) -> TsplannerError:
    return TsplannerError(
        f"dataset {path} cannot be read: {error.strerror or error}; check --dataset"
    )
