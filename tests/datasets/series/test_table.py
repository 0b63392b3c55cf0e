"""Points of a table, and what is wrong with its cells."""

from __future__ import annotations

import pytest

from tsplanner.datasets.series.table import Columns, TableReader
from tsplanner.errors import UsageError

COLUMNS = Columns(values=("flow",), time="t")


def read(columns: Columns, *rows: dict[str, object]) -> TableReader:
    """Read all of a table that begins in line 2."""
    reader = TableReader(columns)
    for _ in reader.points(enumerate(rows, start=2)):
        pass
    return reader


def test_points_have_their_line_values_and_cells() -> None:
    """Numbers come from text as well as from a table that has numbers."""
    reader = TableReader(Columns(values=("flow", "heat"), by="pump"))
    rows = [{"pump": "a", "flow": " 1.5 ", "heat": 2}, {"pump": "b", "flow": "3", "heat": "-4e1"}]
    points = list(reader.points(enumerate(rows, start=2)))
    assert [(point.line, point.series, point.values) for point in points] == [
        (2, "a", (1.5, 2.0)),
        (3, "b", (3.0, -40.0)),
    ]
    assert points[0].cells["flow"] == "1.5"
    assert reader.flaws == []


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("", 'column "flow" is empty, a gap in the series'),
        ("NA", 'column "flow" holds "NA", a gap in the series'),
        ("high", 'column "flow" holds "high", which is not a usable number'),
        ("1,5", "which is not a usable number (--decimal-comma reads it as one)"),
        ("1,234.5", "(numbers have no commas in between)"),
        ("inf", 'holds "inf", which is not a usable number'),
        ("1e300", 'holds "1e300", which is not a usable number'),
        ("1_000", 'holds "1_000", which is not a usable number'),
    ],
)
def test_a_cell_that_is_no_number_is_named_by_its_line(cell: str, said: str) -> None:
    """And a gap is called one."""
    reader = read(COLUMNS, {"t": "1", "flow": "1"}, {"t": "2", "flow": cell})
    (flaw,) = reader.flaws
    assert flaw.line == 3
    assert said in flaw.reason


def test_numbers_with_a_decimal_comma_are_read_where_that_is_said() -> None:
    """Points then stand between thousands."""
    reader = TableReader(Columns(values=("flow",), decimal_comma=True))
    rows: list[dict[str, object]] = [{"flow": "1.234,5"}, {"flow": "-0,25"}, {"flow": "7"}]
    assert [point.values for point in reader.points(enumerate(rows))] == [
        (1234.5,),
        (-0.25,),
        (7.0,),
    ]


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (("1", "3", "2"), 'time "2" does not come after "3": sort the table, or give --by'),
        (("1", "2", "2"), 'time "2" does not come after "2"'),
        (("1", "2", "soon"), 'holds "soon", which is neither a number nor a date'),
        (("2024-01-30", "2024-01-31", "2024-01-30"), "does not come after"),
    ],
)
def test_times_go_on(times: tuple[str, ...], said: str) -> None:
    """A table that is not in order holds no series."""
    reader = read(COLUMNS, *({"t": time, "flow": "1"} for time in times))
    (flaw,) = reader.flaws
    assert flaw.line == 4
    assert said in flaw.reason


def test_uneven_steps_are_counted_and_months_are_even() -> None:
    """The step from May to July is twice the usual one."""
    months = [f"2023-{month:02}" for month in (1, 2, 3, 4, 5, 7, 8, 9)]
    reader = read(COLUMNS, *({"t": month, "flow": "1"} for month in months))
    assert reader.flaws == []
    assert reader.uneven_steps() == (1, (7,))


def test_series_told_apart_by_a_column_have_times_of_their_own() -> None:
    """Times of one pump may lie before those of another."""
    columns = Columns(values=("flow",), time="t", by="pump")
    rows = [(2, "a"), (1, "b"), (3, "a"), (2, "b")]
    reader = read(columns, *({"t": str(t), "pump": pump, "flow": "1"} for t, pump in rows))
    assert reader.flaws == []


def test_a_column_that_is_not_there_is_named_with_the_nearest() -> None:
    """And with its flag."""
    with pytest.raises(UsageError) as error:
        read(Columns(values=("flwo",)), {"t": "1", "flow": "2"})
    assert str(error.value) == (
        '--values names the column "flwo", which the table does not have. Did you mean "flow"? '
        "Columns: t, flow."
    )
