"""Tables: heading, cells, lines, and rows that are none."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tsplanner.datasets.files.kinds import data_file
from tsplanner.datasets.files.records import RawRow
from tsplanner.datasets.files.tables import TableRows
from tsplanner.datasets.records import Fault
from tsplanner.errors import TsplannerError


def table(folder: Path, content: bytes, name: str = "rows.csv") -> list[RawRow]:
    """The rows of a table."""
    path = folder / name
    path.write_bytes(content)
    return list(TableRows(data_file(path)))


def values(rows: list[RawRow]) -> list[tuple[int, object]]:
    """Lines and values of good rows."""
    return [(row.line, json.loads(row.data)) for row in rows]


@pytest.mark.parametrize(
    ("name", "separator"), [("a.csv", ","), ("a.csv", ";"), ("a.tsv", "\t"), ("a.csv.gz", ",")]
)
def test_cells_in_quotes_may_hold_separators_quotes_and_line_ends(
    tmp_path: Path, name: str, separator: str
) -> None:
    """The row behind them keeps its own line, and an empty line is none."""
    text = f'q{separator}a\r\n"x{separator} ""y""\nz"{separator}1\r\n\r\nu{separator}\r\n'
    content = b"\xef\xbb\xbf" + text.encode()
    rows = table(tmp_path, gzip.compress(content) if name.endswith("gz") else content, name)
    assert values(rows) == [
        (2, {"q": f'x{separator} "y"\nz', "a": "1"}),
        (5, {"q": "u", "a": ""}),
    ]


@given(
    rows=st.lists(
        st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\0"))] * 2),
        min_size=1,
        max_size=6,
    )
)
@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_the_csv_module_writes_is_read_as_it_was(
    tmp_path: Path, rows: list[tuple[str, str]]
) -> None:
    """Any text survives; line ends of every kind stay as they are."""
    import csv

    path = tmp_path / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([("q", "a"), *rows])
    found = [json.loads(row.data) for row in TableRows(data_file(path))]
    assert found == [{"q": q, "a": a} for q, a in rows]


def test_a_row_with_another_number_of_cells_is_bad_and_the_next_is_read(tmp_path: Path) -> None:
    """The numbers of both are named."""
    rows = table(tmp_path, b"q,a\nx,y,z\nx\nx,y\n")
    assert [(row.line, row.fault, row.reason) for row in rows[:2]] == [
        (2, Fault.CELLS, "has 3 cells, and the heading has 2"),
        (3, Fault.CELLS, "has 1 cell, and the heading has 2"),
    ]
    assert values(rows[2:]) == [(4, {"q": "x", "a": "y"})]


def test_a_quote_that_never_ends_is_named_by_the_line_where_it_begins(tmp_path: Path) -> None:
    """It would swallow the rest of the file as one cell."""
    rows = table(tmp_path, b'q,a\nx,y\n"x,y\nx,y\n')
    assert [row.line for row in rows] == [2, 3]
    assert (rows[1].fault, rows[1].reason) == (
        Fault.NOT_CSV,
        "is no row of CSV (unexpected end of data)",
    )


def test_bytes_that_are_no_utf8_damage_their_own_row_alone(tmp_path: Path) -> None:
    """In a heading they make the names unknown."""
    rows = table(tmp_path, b"q,a\nx,caf\xe9\nx,y\n")
    assert b"caf\xe9" in rows[0].data
    assert values(rows[1:]) == [(3, {"q": "x", "a": "y"})]
    with pytest.raises(
        TsplannerError, match=r"rows.csv:1: the heading is not UTF-8; it looks like"
    ):
        table(tmp_path, "问题,回答\nx,y\n".encode("gbk"))


@pytest.mark.parametrize(
    ("heading", "sentence"),
    [
        (b"q,q\n", 'two columns have the name "q"'),
        (b'"q\n', "the heading is no row of CSV"),
    ],
)
def test_a_heading_must_name_its_columns(tmp_path: Path, heading: bytes, sentence: str) -> None:
    """Two columns of one name would hide each other."""
    with pytest.raises(TsplannerError, match=sentence):
        table(tmp_path, heading + b"1,2\n")


def test_a_line_that_names_the_separator_is_no_heading(tmp_path: Path) -> None:
    """Spreadsheets read such a line, and so the lines below keep their numbers."""
    rows = table(tmp_path, b"sep=|\r\nq|a\r\nx,y|z\r\n")
    assert values(rows) == [(3, {"q": "x,y", "a": "z"})]


def test_a_column_without_a_name_gets_its_number(tmp_path: Path) -> None:
    """Pandas writes its index so; a cell of a megabyte is a cell."""
    rows = table(tmp_path, b",q , a\n0," + b"x" * 1_000_000 + b",y\n")
    assert values(rows) == [(2, {"column 1": "0", "q": "x" * 1_000_000, "a": "y"})]
