"""A file of JSON lines as its rows: read line by line, or in spans by several processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tsplanner.datasets.files.records import RawRow
from tsplanner.datasets.files.streams import BUFFER_BYTES, BYTE_ORDER_MARK, clear_errors, opened


class SpanRows:
    """The lines that begin at bytes ``start`` to ``end`` of a file, numbered from 1."""

    def __init__(self, path: Path, start: int, end: int, *, file: int = 0) -> None:
        self.path, self.start, self.end, self.file = path, start, end, file
        self.lines = 0
        """Lines read so far, empty ones too."""

    def __iter__(self) -> Iterator[RawRow]:
        """Every line that is not empty. Raises TsplannerError: the file cannot be read."""
        with clear_errors(self.path), self.path.open("rb", buffering=BUFFER_BYTES) as stream:
            yield from self._rows(stream)

    def _rows(self, stream: IO[bytes]) -> Iterator[RawRow]:
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
                yield RawRow(self.lines, content, content.endswith(b"\n"), file=self.file)


class PackedLines:
    """The lines of a gzip stream, which has no spans."""

    def __init__(self, path: Path, *, file: int = 0) -> None:
        self.path, self.file = path, file
        self.lines = 0
        """Lines read so far, empty ones too."""

    def __iter__(self) -> Iterator[RawRow]:
        """Every line that is not empty. Raises TsplannerError: the file cannot be read."""
        with opened(self.path, compressed=True) as stream:
            for data in stream:
                self.lines += 1
                if not data.isspace():
                    yield RawRow(self.lines, data, data.endswith(b"\n"), file=self.file)
