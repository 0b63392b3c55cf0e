"""Format, columns and speakers of a dataset's first rows, for trainers that must be told them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from memory_models.frozen import frozen
from tsplanner.datasets.rows.readers import dataset_format
from tsplanner.errors import TsplannerError

LOOKED_AT = 1000
"""Rows that are read; a column that only later rows have is not found."""
TURNS = ("conversations", "messages")


@frozen
class RowsSeen:
    """The format of a dataset, and the columns and speakers that its rows use."""

    format: str
    """``chatts``, ``alpaca``, ``sharegpt`` or ``messages``."""
    columns: tuple[str, ...]
    """Names of the rows' fields, sorted."""
    speakers: tuple[str, ...] = ()
    """Names of the speakers in dialogues, sorted."""


def rows_seen(path: Path) -> RowsSeen:
    """Format, columns and speakers of the first rows of a JSONL file or a JSON array.

    Raises TsplannerError: as `dataset_format` does.
    """
    found = dataset_format(path)
    columns: set[str] = set()
    speakers: set[str] = set()
    for row in islice(_objects(path), LOOKED_AT):
        columns |= {name for name, value in row.items() if value is not None}
        for name in TURNS:
            turns = row.get(name)
            for turn in turns if isinstance(turns, list) else []:
                if isinstance(turn, dict):
                    speakers.add(str(turn.get("from", turn.get("role", ""))))
    return RowsSeen(
        format=found.name, columns=tuple(sorted(columns)), speakers=tuple(sorted(speakers))
    )


def _objects(path: Path) -> Iterator[dict[str, object]]:
    """The rows that are JSON objects; `readers` reports the other rows."""
    try:
        # ``readers`` refuses bytes that are no UTF-8; here only the names of fields count.
        with path.open(encoding="utf-8-sig", errors="replace") as stream:
            start = stream.read(4096).lstrip()
            stream.seek(0)
            rows = json.load(stream) if start.startswith("[") else map(_decoded, stream)
            yield from (row for row in rows if isinstance(row, dict))
    except (OSError, ValueError, RecursionError) as error:
        raise TsplannerError(f"dataset {path} cannot be read ({error!s:.120}).") from error


def _decoded(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
