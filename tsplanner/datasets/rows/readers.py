"""Streaming readers: a file in, checked samples out, each unusable row named by line and reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from memory_models.architecture import TimeSeriesEncoder
from tsplanner.datasets.records import DroppedRow, OnBad, Sample
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
) -> Iterator[Sample | DroppedRow]:
    """The rows of a dataset in file order, each a Sample or a DroppedRow.

    The format is that of the first row that is a JSON object. With ``encoder`` series longer
    than its position table are bad rows too.

    Raises TsplannerError: file missing, not readable, empty or of no known format; with
    ``on_bad`` "refuse" also at the first bad row, with its line and reason.
    """
    on_bad = OnBad(on_bad)
    parser = RowParser(dataset_format(path), encoder)
    samples, first_fault = 0, None
    for raw in raw_rows(path):
        row = parser.parsed(raw)
        if isinstance(row, DroppedRow):
            first_fault = first_fault or row
            if on_bad is OnBad.REFUSE:
                refuse(path, row)
        else:
            samples += 1
        yield row
    if samples == 0:
        refuse_empty(path, first_fault)


def read_samples(
    path: Path,
    *,
    encoder: TimeSeriesEncoder | None = None,
    on_bad: OnBad | str = OnBad.REFUSE,
) -> Iterator[Sample]:
    """The usable rows of a dataset; see `read_rows` for what is raised."""
    for row in read_rows(path, encoder=encoder, on_bad=on_bad):
        if isinstance(row, Sample):
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
    """End at a bad row; raises TsplannerError."""
    raise TsplannerError(f"{path}:{row.line}: {row.reason}; fix the row or {WAY_OUT}")


def refuse_empty(path: Path, first_fault: DroppedRow | None) -> NoReturn:
    """End for want of rows; raises TsplannerError."""
    if first_fault is None:
        raise TsplannerError(f"dataset {path} is empty; give a file with at least one row")
    raise TsplannerError(
        f"dataset {path} has no usable row: line {first_fault.line}: {first_fault.reason}"
    )
