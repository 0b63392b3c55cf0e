"""Rows of a CSV file: every line under the heading is an object of texts."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from typing import cast

import msgspec

from memory_models.units import counted
from tsplanner.datasets.files.encodings import likely_encoding, mending
from tsplanner.datasets.files.kinds import SEPARATOR_LINE
from tsplanner.datasets.files.records import DataFile, RawRow
from tsplanner.datasets.files.streams import opened
from tsplanner.datasets.records import Fault
from tsplanner.errors import TsplannerError, named

LONGEST_CELL = 1 << 30
"""Characters of a cell; the library refuses more than 131,072 unless it is told otherwise."""


class TableRows:
    """Rows of one CSV file, each with the line where it starts."""

    def __init__(self, file: DataFile) -> None:
        self.file = file
        self.lines = 0
        """Lines read so far."""

    def __iter__(self) -> Iterator[RawRow]:
        """The rows. Raises TsplannerError: the file cannot be read, or its heading is not one."""
        csv.field_size_limit(LONGEST_CELL)
        with opened(self.file.path, compressed=self.file.compressed) as stream:
            # A byte that is no UTF-8 damages only its own row, so it is kept for that row.
            text = io.TextIOWrapper(
                cast(io.BufferedReader, stream), "utf-8", errors="surrogateescape", newline=""
            )
            yield from self._rows(text)
            text.detach()

    def _rows(self, text: io.TextIOWrapper) -> Iterator[RawRow]:
        rows = csv.reader(text, delimiter=self.file.separator, strict=True)
        names = self._names(rows)
        while True:
            self.lines = rows.line_num
            try:
                cells = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield self._bad(Fault.NOT_CSV, f"is no row of CSV ({error})")
                continue
            if cells:
                yield self._row(names, cells)

    def _names(self, rows: Iterator[list[str]]) -> list[str]:
        """Names of the columns. Raises TsplannerError: a name stands twice, or is no text."""
        path = self.file.path
        try:
            names = next(rows, [])
            if names[:1] == [SEPARATOR_LINE]:
                names = next(rows, [])
            "".join(names).encode()
        except UnicodeEncodeError:
            data = "".join(names).encode("utf-8", "surrogateescape")
            encoding = likely_encoding(data)
            raise TsplannerError(
                f"{path}:1: the heading is not UTF-8; it looks like {encoding}: "
                f"{mending(path, encoding)}"
            ) from None
        except csv.Error as error:
            raise TsplannerError(
                f"{path}:1: the heading is no row of CSV ({error}); fix the file"
            ) from error
        names = [name.strip() for name in names]
        twice = [name for name, count in Counter(names).items() if count > 1 and name]
        if twice:
            raise TsplannerError(
                f"{path}:1: two columns have the name {named(twice[0])}; rename one of them"
            )
        return [name or f"column {number}" for number, name in enumerate(names, start=1)]

    def _row(self, names: list[str], cells: list[str]) -> RawRow:
        if len(cells) != len(names):
            return self._bad(
                Fault.CELLS, f"has {counted(len(cells), 'cell')}, and the heading has {len(names)}"
            )
        row = dict(zip(names, cells, strict=True))
        try:
            data = msgspec.json.encode(row)
        except UnicodeEncodeError:
            # The row's own parser says what is wrong with these bytes.
            data = "\n".join(cells).encode("utf-8", "surrogateescape")
        return RawRow(self.lines + 1, data, file=self.file.number)

    def _bad(self, fault: Fault, reason: str) -> RawRow:
        number = self.file.number
        return RawRow(self.lines + 1, b"", fault=fault, reason=reason, file=number)
