"""Columns of a table as points of series, with every value checked; flaws are named by line."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from statistics import median

from memory_models.frozen import frozen
from tsplanner.datasets.records import DroppedRow, Fault
from tsplanner.datasets.rows.fields import LARGEST_VALUE
from tsplanner.errors import UsageError, did_you_mean, named

GAPS = frozenset({"", "na", "n/a", "nan", "null", "none", "-", "--", "?"})
"""What tables write where there is no value."""
UNEVEN = 0.1
"""Share of the usual step by which a step is uneven; months differ from their mean by less."""
_WITH_COMMA = re.compile(r"[-+]?(?:\d{1,3}(?:\.\d{3})+|\d+)(?:,\d+)?(?:[eE][-+]?\d+)?")
FIRST_LINES = 5
"""Lines that are named of uneven steps."""


@frozen
class Columns:
    """Which columns of a table hold what."""

    values: tuple[str, ...]
    time: str | None = None
    """None: the rows follow one another in even steps."""
    labels: str | None = None
    by: str | None = None
    """Column whose values tell series apart; None: the table is one series."""
    decimal_comma: bool = False
    """Numbers are written as in 1.234,5."""


@frozen
class Point:
    """One row of the table."""

    line: int
    values: tuple[float, ...]
    """A value per column of values; NaN where there is none that can be used."""
    cells: Mapping[str, str]
    """Every cell of the row as text."""
    series: str
    """Which series it belongs to: the cell of `Columns.by`."""
    flawed: bool


class TableReader:
    """Reads points and keeps what is wrong with them."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.flaws: list[DroppedRow] = []
        """Every cell that cannot be used, in the order of the file."""
        self._times: dict[str, tuple[float, str]] = {}
        self._steps: dict[str, tuple[array[float], array[int]]] = {}

    def points(self, rows: Iterable[tuple[int, Mapping[str, object]]]) -> Iterator[Point]:
        """The points of a table, from pairs of line and cells.

        Raises UsageError: a column is not there.
        """
        for number, (line, row) in enumerate(rows):
            if number == 0:
                self._require(row)
            cells = {name: _text(value) for name, value in row.items()}
            series = "" if self.columns.by is None else cells.get(self.columns.by, "")
            flaws = len(self.flaws)
            values = tuple(self._values(line, cells))
            self._note_time(line, series, cells)
            yield Point(
                line=line,
                values=values,
                cells=cells,
                series=series,
                flawed=len(self.flaws) > flaws,
            )

    def _require(self, row: Mapping[str, object]) -> None:
        """Raise UsageError for a column that the first row does not have."""
        columns = self.columns
        asked = {
            **{name: "--values" for name in columns.values},
            **({} if columns.time is None else {columns.time: "--time"}),
            **({} if columns.labels is None else {columns.labels: "--labels"}),
            **({} if columns.by is None else {columns.by: "--by"}),
        }
        for name, flag in asked.items():
            if name not in row:
                raise UsageError(
                    f"{flag} names the column {named(name)}, which the table does not have."
                    f"{did_you_mean(name, row)} Columns: {', '.join(row)}."
                )

    def _values(self, line: int, cells: Mapping[str, str]) -> Iterator[float]:
        for name in self.columns.values:
            cell = cells.get(name, "")
            value = _number(cell, decimal_comma=self.columns.decimal_comma)
            if math.isnan(value):
                holds = f"holds {named(cell)}" if cell else "is empty"
                what = (
                    "a gap in the series"
                    if cell.lower() in GAPS
                    else f"which is not a usable number{_hint(cell)}"
                )
                self._flaw(line, f"column {named(name)} {holds}, {what}")
            yield value

    def _flaw(self, line: int, reason: str) -> None:
        self.flaws.append(DroppedRow(line=line, fault=Fault.NOT_A_NUMBER, reason=reason))

    def _note_time(self, line: int, series: str, cells: Mapping[str, str]) -> None:
        name = self.columns.time
        if name is None:
            return
        cell = cells.get(name, "")
        time = _time(cell)
        if math.isnan(time):
            self._flaw(
                line,
                f"column {named(name)} holds {named(cell)}, which is neither a number nor a date "
                "such as 2024-01-31 (without --time the rows follow in even steps)",
            )
            return
        before = self._times.get(series)
        self._times[series] = (time, cell)
        if before is None:
            return
        if time <= before[0]:
            self._flaw(
                line,
                f"time {named(cell)} does not come after {named(before[1])}: sort the table, or "
                "give --by COLUMN if it holds several series",
            )
            return
        steps, lines = self._steps.setdefault(series, (array("d"), array("q")))
        steps.append(time - before[0])
        lines.append(line)

    def uneven_steps(self) -> tuple[int, tuple[int, ...]]:
        """Number of time steps that differ from their series' usual one, and the first lines."""
        found: list[int] = []
        for steps, lines in self._steps.values():
            usual = median(steps)
            found += [
                line
                for step, line in zip(steps, lines, strict=True)
                if abs(step - usual) > UNEVEN * usual
            ]
        return len(found), tuple(sorted(found)[:FIRST_LINES])


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _number(cell: str, *, decimal_comma: bool = False) -> float:
    """A finite number of a size that can be normalised; NaN for anything else."""
    if decimal_comma:
        if not _WITH_COMMA.fullmatch(cell):
            return math.nan
        cell = cell.replace(".", "").replace(",", ".")
    try:
        value = float(cell)
    except ValueError:
        return math.nan
    # Python alone reads 1_000 as a number.
    return value if abs(value) <= LARGEST_VALUE and "_" not in cell else math.nan


def _hint(cell: str) -> str:
    """What may be meant by a cell that is no number."""
    if not math.isnan(_number(cell, decimal_comma=True)):
        return " (--decimal-comma reads it as one)"
    if not math.isnan(_number(cell.replace(",", ""))):
        return " (numbers have no commas in between)"
    return ""


def _time(cell: str) -> float:
    """A number, or the seconds of a date; NaN for anything else."""
    number = _number(cell)
    if not math.isnan(number):
        return number
    date = cell.replace("/", "-")
    for text in (date, f"{date}-01"):  # a month has no day
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            continue
        return (found.replace(tzinfo=UTC) if found.tzinfo is None else found).timestamp()
    return math.nan
