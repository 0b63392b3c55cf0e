"""The document of rows: a line for each row, and none held beside another."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from tsplanner.datasets.records import (
    DroppedRow,
)
from tsplanner.datasets.shown import Part, ShownRow


def print_rows_document(
    head: dict[str, Any], rows: Iterable[tuple[int, ShownRow | DroppedRow]]
) -> None:
    """A document that ends in rows, a line each."""
    out = sys.stdout
    out.write(json.dumps(head)[:-1] + ', "rows": [')
    for place, (number, row) in enumerate(rows):
        out.write(",\n" if place else "\n")
        out.write(json.dumps(row_values(number, row)))
    out.write("\n]}\n")


def row_values(number: int, row: ShownRow | DroppedRow) -> dict[str, Any]:
    """A row as plain values."""
    if isinstance(row, DroppedRow):
        fault = {"left_out": str(row.fault), "reason": row.reason}
        return {"row": number, "file": row.file, "line": row.line, **fault}
    learned, done = [], 0
    for each in row.stretches:
        if each.part is Part.LEARNED:
            learned.append([done, done + len(each.text)])
        done += len(each.text)
    return {
        "row": number,
        "file": row.conversation.file,
        "line": row.conversation.line,
        "input_ids": None if row.ids is None else list(row.ids),
        "labels": None if row.labels is None else list(row.labels),
        "tokens_cut": row.tokens_cut,
        "text": "".join(each.text for each in row.stretches),
        "learned": learned,
        "unwritten": [str(each) for each in row.unwritten],
        "series_points": [len(series) for series in row.conversation.timeseries],
    }
