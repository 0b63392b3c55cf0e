"""Rows of a token store as a sequence: a row is made when it is asked for.

The columns are mapped into memory: their pages belong to the file system, all processes of a host
share them, and the system takes them back where memory is short.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from tsplanner.datasets.store.columns import COLUMNS, column_file
from tsplanner.training.batches import EncodedSample, labels_of

Array = np.ndarray[Any, np.dtype[Any]]


class StoredRows(Sequence[EncodedSample]):
    """All rows of a store, in the order of the dataset."""

    def __init__(self, folder: Path, key: str) -> None:
        columns = {
            name: _mapped(column_file(folder, key, name), np.dtype(kind))
            for name, kind in COLUMNS.items()
        }
        self._ids, self._points = columns["ids"], columns["points"]
        self._learned = columns["learned"].reshape(-1, 2)
        self._series = columns["series"]
        self._ends = columns["rows"].reshape(-1, 3)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._ends)

    @overload
    def __getitem__(self, place: int) -> EncodedSample: ...
    @overload
    def __getitem__(self, place: slice) -> RowsAt: ...
    def __getitem__(self, place: int | slice) -> EncodedSample | RowsAt:
        """A row, or some of the rows."""
        if isinstance(place, slice):
            return RowsAt(self, np.arange(len(self), dtype=np.int64)[place])
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        place %= len(self)
        first = self._ends[place - 1].tolist() if place else [0, 0, 0]
        last = self._ends[place].tolist()
        ids = np.array(self._ids[first[0] : last[0]])
        learned = self._learned[first[1] : last[1]].tolist()
        return EncodedSample(
            input_ids=ids,
            labels=labels_of(ids, learned),
            series=tuple(self._values(number) for number in range(first[2], last[2])),
        )

    def _values(self, number: int) -> Array:
        """Normalised values of one series of the store."""
        first = int(self._series[number - 1]) if number else 0
        return np.array(self._points[first : int(self._series[number])])

    def tokens(self) -> Array:
        """Text tokens of every row, int64 [rows]."""
        return np.diff(self._ends[:, 0], prepend=0)


class RowsAt(Sequence[EncodedSample]):
    """Some rows of a store, in an order of their own."""

    def __init__(self, rows: StoredRows, places: Array) -> None:
        self._rows, self._places = rows, places

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> EncodedSample: ...
    @overload
    def __getitem__(self, place: slice) -> RowsAt: ...
    def __getitem__(self, place: int | slice) -> EncodedSample | RowsAt:
        """A row, or some of the rows."""
        if isinstance(place, slice):
            return RowsAt(self._rows, self._places[place])
        return self._rows[int(self._places[place])]

    def __iter__(self) -> Iterator[EncodedSample]:
        """The rows in order."""
        return (self._rows[place] for place in map(int, self._places))

    def tokens(self) -> Array:
        """Text tokens of every row, int64 [rows]."""
        found: Array = self._rows.tokens()[self._places]
        return found


def row_tokens(rows: Sequence[EncodedSample]) -> Sequence[int]:
    """Text tokens of every row; rows of a store are not read for it."""
    counted = getattr(rows, "tokens", None)
    if counted is not None:
        found: Sequence[int] = counted()  # an array is one
        return found
    return [len(row.input_ids) for row in rows]


def _mapped(path: Path, kind: np.dtype[Any]) -> Array:
    # An empty file cannot be mapped.
    if path.stat().st_size == 0:
        return np.zeros(0, kind)
    return np.memmap(path, dtype=kind, mode="r")
