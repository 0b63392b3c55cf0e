"""From a table to rows of ChatTS: windows of series, with the question and the answer to each.

Nothing is lost in silence: points that no row holds are counted, and a row that is left out has a
line and a reason.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from memory_models.architecture import TimeSeriesEncoder
from memory_models.frozen import frozen
from tsplanner.datasets.records import Conversation, DroppedRow, Fault
from tsplanner.datasets.rows.checks import PLACEHOLDER, conversation_fault
from tsplanner.datasets.rows.turns import asked_and_answered
from tsplanner.datasets.series.figures import figures
from tsplanner.datasets.series.table import Columns, Point, TableReader
from tsplanner.datasets.series.templates import Template, Value, template
from tsplanner.errors import UsageError

ALL_SERIES = "series"
"""Field of a question that stands for all series with their names."""
FIGURES = ("max", "max_at", "min", "min_at", "mean", "first", "last", "trend")
"""Fields that each column of values has behind its name, as in ``{flow_max}``."""
TIMES = ("max_time", "min_time")
"""The same, where the table has a column of times."""

TableRows = Iterable[tuple[int, Mapping[str, object]]]
"""Pairs of a line and the cells of that line by column."""


@frozen
class Recipe:
    """How a table becomes rows."""

    columns: Columns
    window: int | None = None
    """Points of a row; None: a whole series."""
    step: int | None = None
    """Points from the start of a window to the start of the next; None: a whole window."""
    question: str | None = None
    """Template; None: the name of the column of labels."""
    answer: str | None = None
    """Template; None: the labels of the window's points."""


@dataclass
class Made:
    """What became of a table; complete once all rows were taken."""

    points: int = 0
    points_in_no_row: int = 0
    rows: int = 0
    left_out: list[DroppedRow] = field(default_factory=list)
    """Windows that became no row."""
    uneven_steps: int = 0
    uneven_lines: tuple[int, ...] = ()


@dataclass
class _Series:
    """The newest points of one series."""

    held: deque[Point] = field(default_factory=deque)
    fresh: int = 0
    """Points of them that were in no window yet."""
    skips: int = 0
    """Points to pass over until the next window begins."""


class RowMaker:
    """Makes rows of a table."""

    def __init__(self, recipe: Recipe, encoder: TimeSeriesEncoder | None = None) -> None:
        """``encoder``: of the model, whose longest series is kept to.

        Raises UsageError: the recipe has no answer.
        """
        if recipe.answer is None and recipe.columns.labels is None:
            raise UsageError(
                "A row needs an answer: give --labels COLUMN, or --answer with fields such as "
                f"'{{{recipe.columns.values[0]}_max}}'."
            )
        self.recipe, self._encoder = recipe, encoder
        self.made = Made()
        self.reader = TableReader(recipe.columns)
        self._templates: tuple[Template, Template] | None = None

    def rows(self, table: TableRows) -> Iterator[Conversation]:
        """The rows, each with the line at which its window begins.

        Raises UsageError: a column or a field of a template is not there.
        """
        for window in self._windows(self.reader.points(table)):
            row = self._row(window)
            if row is not None:
                self.made.rows += 1
                yield row
        self.made.uneven_steps, self.made.uneven_lines = self.reader.uneven_steps()

    def _windows(self, points: Iterable[Point]) -> Iterator[list[Point]]:
        """Windows of every series, in the order in which they are complete."""
        size = self.recipe.window
        step = self.recipe.step or size or 0
        series: dict[str, _Series] = {}
        for point in points:
            self.made.points += 1
            one = series.setdefault(point.series, _Series())
            if one.skips:
                one.skips -= 1
                self.made.points_in_no_row += 1
                continue
            one.held.append(point)
            one.fresh += 1
            if len(one.held) == size:
                yield list(one.held)
                one.fresh, one.skips = 0, max(0, step - size)
                for _ in range(min(step, size)):
                    one.held.popleft()
        for one in series.values():
            if size is None:
                yield list(one.held)
            else:
                self.made.points_in_no_row += one.fresh

    def _row(self, window: list[Point]) -> Conversation | None:
        """A row with a question and its answer; None if it has to be left out."""
        flawed = next((point for point in window if point.flawed), None)
        if flawed is not None:
            self._leave_out(window, f"line {flawed.line} has a value that cannot be used")
            return None
        question, answer = self._filled(window)
        text, order = self._with_marks(question)
        series = list(zip(*(point.values for point in window), strict=True))
        row = Conversation(
            turns=asked_and_answered(text, answer),
            timeseries=tuple(series[place] for place in order),
            line=window[0].line,
        )
        found = conversation_fault(row, encoder=self._encoder)
        if found is not None:
            self._leave_out(window, found[1], found[0])
            return None
        return row

    def _leave_out(
        self, window: list[Point], reason: str, fault: Fault = Fault.NOT_A_NUMBER
    ) -> None:
        first, last = window[0].line, window[-1].line
        reason = f"lines {first} to {last}: {reason}"
        self.made.left_out.append(DroppedRow(line=first, fault=fault, reason=reason))

    def _filled(self, window: list[Point]) -> tuple[str, str]:
        """The question, with a mark of its own for each series, and the answer."""
        values = self._fields(window)
        if self._templates is None:
            self._templates = self._parsed(tuple(values))
        question, answer = self._templates
        cells = {name: _without_edges(value) for name, value in values.items()}
        return question.filled(cells | self._marks()), answer.filled(values)

    def _parsed(self, known: tuple[str, ...]) -> tuple[Template, Template]:
        """Raises UsageError: a field is not there."""
        recipe, labels = self.recipe, self.recipe.columns.labels
        question = "" if labels is None else f"{labels}?"
        if recipe.question is not None:
            question = recipe.question
            for name in recipe.columns.values:
                question = question.replace(PLACEHOLDER, _brackets(name), 1)
        label = "" if labels is None else _brackets(labels)
        return (
            template(question, (*self._marks(), *known), "--question"),
            template(label if recipe.answer is None else recipe.answer, known, "--answer"),
        )

    def _marks(self) -> dict[str, Value]:
        """Marks by field: a number in the place of a series that will stand there."""
        names = self.recipe.columns.values
        each: dict[str, Value] = {name: _mark(place) for place, name in enumerate(names)}
        return {**each, ALL_SERIES: ", ".join(f"{name}: {mark}" for name, mark in each.items())}

    def _with_marks(self, question: str) -> tuple[str, list[int]]:
        """The question with ChatTS's marks, and the places of the series in their order.

        A series that the question does not name stands before it.
        """
        names = self.recipe.columns.values
        missing = [place for place in range(len(names)) if _mark(place) not in question]
        before = ", ".join(f"{names[place]}: {_mark(place)}" for place in missing)
        text = f"{before} {question}" if before else question
        order: list[int] = []
        pieces = text.split(_EDGE)
        for index in range(1, len(pieces), 2):
            order.append(int(pieces[index]))
            pieces[index] = PLACEHOLDER
        return "".join(pieces), order

    def _fields(self, window: list[Point]) -> dict[str, Value]:
        """Values of the fields that a question and an answer may have."""
        columns = self.recipe.columns
        found: dict[str, Value] = {"points": len(window)}
        for name in window[0].cells:
            if name not in (*columns.values, columns.time):
                cells = dict.fromkeys(point.cells.get(name, "") for point in window)
                found[name] = ", ".join(cell for cell in cells if cell)
        if columns.time is not None:
            found["start"] = window[0].cells[columns.time]
            found["end"] = window[-1].cells[columns.time]
        for place, name in enumerate(columns.values):
            known = figures([point.values[place] for point in window])
            numbers: tuple[Value, ...] = (
                known.largest,
                known.largest_at,
                known.smallest,
                known.smallest_at,
                known.mean,
                known.first,
                known.last,
                str(known.trend),
            )
            for end, number in zip(FIGURES, numbers, strict=True):
                found[f"{name}_{end}"] = number
            if columns.time is not None:
                for end, at in zip(TIMES, (known.largest_at, known.smallest_at), strict=True):
                    found[f"{name}_{end}"] = window[at - 1].cells[columns.time]
        return found


_EDGE = "\x00"
"""Stands around the number of a series in a question; no table and no terminal gives one."""


def _without_edges(value: Value) -> Value:
    return value.replace(_EDGE, "") if isinstance(value, str) else value


def _mark(place: int) -> str:
    return f"{_EDGE}{place}{_EDGE}"


def _brackets(name: str) -> str:
    """A field of that name."""
    return f"{{{name}}}"
