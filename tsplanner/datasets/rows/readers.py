"""Streaming readers from files to checked conversations; a bad row is named by line and reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from memory_models.architecture import TimeSeriesEncoder
from tsplanner.datasets.files.dataset import RawDataset
from tsplanner.datasets.files.folders import data_source
from tsplanner.datasets.records import Conversation, DataSource, DroppedRow, OnBad, Remark
from tsplanner.datasets.rows.parsing import RowParser
from tsplanner.errors import TsplannerError

WAY_OUT = "leave such rows out with --on-bad-rows drop"


def raw_dataset(source: DataSource) -> RawDataset:
    """The files of a source. Raises TsplannerError: see `RawDataset`."""
    return RawDataset([Path(path) for path in source.paths])


class DatasetReader:
    """Reads the rows of one source, and knows afterwards what was noticed in them."""

    def __init__(
        self,
        source: Path | DataSource,
        *,
        encoder: TimeSeriesEncoder | None = None,
        text_only: bool = False,
    ) -> None:
        """``text_only``: the model reads no series, and a row with some is bad.

        Raises TsplannerError: a file is missing, not readable, or of a kind that is not read.
        """
        source = data_source(source)
        self.raw = raw_dataset(source)
        self._parser = RowParser(encoder, dict(source.columns), text_only=text_only)

    def rows(self, on_bad: OnBad | str = OnBad.REFUSE) -> Iterator[Conversation | DroppedRow]:
        """The rows in file order, each a Conversation or a DroppedRow.

        Raises TsplannerError: a file is damaged or no row is usable; with ``on_bad`` "refuse" also
        at the first bad row, with its line and reason.
        """
        on_bad = OnBad(on_bad)
        usable, first_fault = 0, None
        for raw in self.raw.rows():
            row = self._parser.parsed(raw)
            if isinstance(row, DroppedRow):
                first_fault = first_fault or row
                if on_bad is OnBad.REFUSE:
                    refuse(self.raw, row)
            else:
                usable += 1
            yield row
        if usable == 0:
            refuse_empty(self.raw, first_fault)

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """What was noticed in the rows so far."""
        return self._parser.remarks.records()


def read_rows(
    source: Path | DataSource,
    *,
    encoder: TimeSeriesEncoder | None = None,
    on_bad: OnBad | str = OnBad.REFUSE,
    text_only: bool = False,
) -> Iterator[Conversation | DroppedRow]:
    """The rows of a dataset in file order; see `DatasetReader` for what is raised.

    With ``encoder`` a row is also bad if a series is longer than the encoder's position table.
    """
    return DatasetReader(source, encoder=encoder, text_only=text_only).rows(on_bad)


def read_conversations(
    source: Path | DataSource,
    *,
    encoder: TimeSeriesEncoder | None = None,
    on_bad: OnBad | str = OnBad.REFUSE,
    text_only: bool = False,
) -> Iterator[Conversation]:
    """The usable rows of a dataset; see `read_rows` for what is raised."""
    for row in read_rows(source, encoder=encoder, on_bad=on_bad, text_only=text_only):
        if isinstance(row, Conversation):
            yield row


def first_conversation(source: Path | DataSource) -> Conversation | None:
    """The first usable row of a dataset; None: there is none.

    Raises TsplannerError: a file cannot be read.
    """
    parsed = (row for row in DatasetReader(source).rows(OnBad.DROP))
    return next((row for row in parsed if isinstance(row, Conversation)), None)


def refuse(raw: RawDataset, row: DroppedRow) -> NoReturn:
    """Raise TsplannerError for a bad row."""
    raise TsplannerError(f"{raw.place(row)}: {row.reason}; fix the row or {WAY_OUT}")


def refuse_empty(raw: RawDataset, first_fault: DroppedRow | None) -> NoReturn:
    """Raise TsplannerError for a dataset without a usable row."""
    if first_fault is None:
        raise TsplannerError(f"dataset {raw.name} is empty; give a file with at least one row")
    where = raw.place(first_fault) if len(raw.files) > 1 else f"line {first_fault.line}"
    raise TsplannerError(f"dataset {raw.name} has no usable row: {where}: {first_fault.reason}")
