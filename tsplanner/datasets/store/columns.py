"""The files of a store: one per column, and a note that is written last.

All numbers are little-endian, as on every machine that trains. A store is complete where its note
is; files without one are what a killed process left.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from memory_models.frozen import frozen
from tsplanner.errors import TsplannerError
from tsplanner.folders.leftovers import remove_leftovers, temporary_name
from tsplanner.reading import decoded, read_text
from tsplanner.runs import clear_disk_errors, write_text

COLUMNS = {"ids": "i", "learned": "i", "rows": "q", "series": "q", "points": "d"}
"""Columns and the type of their numbers, as `array` writes it.

``ids``: token ids of all rows, one row behind the other.
``learned``: pairs of first and last + 1 token with loss, counted within the row.
``rows``: three numbers per row: ends of its ids, of its pairs and of its series.
``series``: ends of the points of each series.
``points``: normalised values of all series.
"""
NOTE = "json"


@frozen
class StoredRow:
    """One row on its way into a store."""

    ids: array[int]
    learned: Sequence[tuple[int, int]] = ()
    series: tuple[Sequence[float], ...] = ()


class Columns:
    """Numbers of consecutive rows, by column; the ends count within them."""

    def __init__(self) -> None:
        self.numbers: dict[str, Any] = {name: array(kind) for name, kind in COLUMNS.items()}

    def add(self, row: StoredRow) -> None:
        """Append a row."""
        numbers = self.numbers
        numbers["ids"].extend(row.ids)
        for pair in row.learned:
            numbers["learned"].extend(pair)
        for series in row.series:
            numbers["points"].extend(series)
            numbers["series"].append(len(numbers["points"]))
        ends = (len(numbers["ids"]), len(numbers["learned"]) // 2, len(numbers["series"]))
        numbers["rows"].extend(ends)

    def to_bytes(self) -> dict[str, bytes]:
        """The numbers as bytes, to be sent to another process."""
        return {name: numbers.tobytes() for name, numbers in self.numbers.items()}


class StoreWriter(AbstractContextManager["StoreWriter"]):
    """Writes a store under temporary names, and gives the files their names when it is whole."""

    def __init__(self, folder: Path, key: str) -> None:
        """Raises TsplannerError: the folder cannot be written."""
        self._folder, self._key = folder, key
        self._handles: dict[str, BinaryIO] = {}
        self._paths: dict[str, Path] = {}
        self._ends = dict.fromkeys(COLUMNS, 0)
        with clear_disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)
            for name in COLUMNS:
                self._paths[name] = temporary_name(column_file(folder, key, name))
                self._handles[name] = self._paths[name].open("wb")

    def add(self, columns: dict[str, bytes]) -> None:
        """Append rows as `Columns.to_bytes` gives them.

        Raises TsplannerError: the disk is full.
        """
        whole = {
            **columns,
            "rows": self._shifted(columns["rows"], ("ids", "learned", "series"), (1, 2, 1)),
            "series": self._shifted(columns["series"], ("points",), (1,)),
        }
        for name, data in whole.items():
            try:
                self._handles[name].write(data)
            except OSError as error:
                raise self._no_room(error) from error
            self._ends[name] += len(data) // array(COLUMNS[name]).itemsize

    def _shifted(self, data: bytes, counted: tuple[str, ...], each: tuple[int, ...]) -> bytes:
        """Ends of a part as ends in the whole column."""
        ends = array("q", data)
        for place, (name, size) in enumerate(zip(counted, each, strict=True)):
            before = self._ends[name] // size
            if before:
                shifted = array("q", [end + before for end in ends[place :: len(counted)]])
                ends[place :: len(counted)] = shifted
        return ends.tobytes()

    def _no_room(self, error: OSError) -> TsplannerError:
        return TsplannerError(
            f"The tokens of the dataset cannot be written to {self._folder} ({error.strerror}); "
            "free some space there, or name another folder in TSPLANNER_STATE"
        )

    @property
    def rows(self) -> int:
        """Rows so far."""
        return self._ends["rows"] // 3

    def finish(self, facts: dict[str, object]) -> None:
        """Give the files their names; ``facts`` join the note. Raises TsplannerError: no room."""
        for name, handle in self._handles.items():
            try:
                handle.close()
                self._paths[name].replace(column_file(self._folder, self._key, name))
            except OSError as error:
                raise self._no_room(error) from error
        note = {**facts, "rows": self.rows, "numbers": self._ends}
        write_text(column_file(self._folder, self._key, NOTE), json.dumps(note) + "\n")

    def __exit__(self, *_: object) -> None:
        """Remove the files of a store that was not finished."""
        for name, handle in self._handles.items():
            with suppress(OSError):
                handle.close()
            self._paths[name].unlink(missing_ok=True)


def column_file(folder: Path, key: str, name: str) -> Path:
    """The file of one column, or of the note."""
    return folder / f"{key}.{name}"


def store_files(folder: Path, key: str) -> list[Path]:
    """All files that a store may have, its note first: without it the others do not count."""
    return [column_file(folder, key, name) for name in (NOTE, *COLUMNS)]


def note_of(folder: Path, key: str) -> dict[str, object] | None:
    """The note of a store whose files are all there and whole; None: there is none."""
    try:
        note = decoded(read_text(column_file(folder, key, NOTE)))
        for name, kind in COLUMNS.items():
            size = column_file(folder, key, name).stat().st_size
            if size != note["numbers"][name] * array(kind).itemsize:
                return None
    except (OSError, TsplannerError, ValueError, TypeError, KeyError):
        return None
    return note  # type: ignore[no-any-return]
