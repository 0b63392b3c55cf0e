"""Streaming readers from a file to checked conversations; a bad row is named by line and reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from memory_models.architecture import TimeSeriesEncoder
from tsplanner.datasets.records import Conversation, DroppedRow, OnBad
from tsplanner.datasets.rows.formats import RowFormat
from tsplanner.datasets.rows.parsing import RowParser, detected_format, json_fault
from tsplanner.datasets.rows.raw import RawRow, raw_rows
from tsplanner.errors import TsplannerError

WAY_OUT = "leave such rows out with --on-bad-rows drop"


def read_rows(
    path: Path,
    *,
    encoder: TimeSeriesEncoder | None = None,
    on_bad: OnBad | str = OnBad.REFUSE,
) -> Iterator[Conversation | DroppedRow]:
    """The rows of a dataset in file order, each a Conversation or a DroppedRow.

    The first row that is a JSON object decides the format. With ``encoder`` a row is also bad if a
    series is longer than the encoder's position table.

    Raises TsplannerError: file missing, not readable, empty or of no known format; with
    ``on_bad`` "refuse" also at the first bad row, with its line and reason.
    """
    on_bad = OnBad(on_bad)
    parser = RowParser(dataset_format(path), encoder)
    usable, first_fault = 0, None
    for raw in raw_rows(path):
        row = parser.parsed(raw)
        if isinstance(row, DroppedRow):
            first_fault = first_fault or row
            if on_bad is OnBad.REFUSE:
                refuse(path, row)
        else:
            usable += 1
        yield row
    if usable == 0:
        refuse_empty(path, first_fault)


def read_conversations(
    path: Path,
    *,
    encoder: TimeSeriesEncoder | None = None,
    on_bad: OnBad | str = OnBad.REFUSE,
) -> Iterator[Conversation]:
    """The usable rows of a dataset; see `read_rows` for what is raised."""
    for row in read_rows(path, encoder=encoder, on_bad=on_bad):
        if isinstance(row, Conversation):
            yield row


def dataset_format(path: Path) -> RowFormat:
    """The format of a dataset, from its first row that is a JSON object.

    Raises TsplannerError: file missing, empty or of no known format.
    """
    first: RawRow | None = None
    for raw in raw_rows(path):
        if (row_format := detected_format(path, raw)) is not None:
            return row_format
        first = first or raw
    if first is None:
        refuse_empty(path, None)
    fault, reason = json_fault(first)
    refuse_empty(path, DroppedRow(line=first.line, fault=fault, reason=reason))


def refuse(path: Path, row: DroppedRow) -> NoReturn:
    """Raise TsplannerError for a bad row."""
    raise TsplannerError(f"{path}:{row.line}: {row.reason}; fix the row or {WAY_OUT}")


def refuse_empty(path: Path, first_fault: DroppedRow | None) -> NoReturn:
    """Raise TsplannerError for a dataset without a usable row."""
    if first_fault is None:
        raise TsplannerError(f"dataset {path} is empty; give a file with at least one row")
    raise TsplannerError(
        f"dataset {path} has no usable row: line {first_fault.line}: {first_fault.reason}"
    )
