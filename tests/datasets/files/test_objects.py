"""Arrays, objects over several lines, and one object that holds all rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tsplanner.datasets.files.kinds import data_file
from tsplanner.datasets.files.objects import ArrayRows, ObjectRows, nested_rows, placed
from tsplanner.datasets.files.records import RawRow
from tsplanner.errors import TsplannerError


def objects(folder: Path, content: bytes) -> list[tuple[int, object]]:
    """Lines and values of the rows of a file of objects."""
    path = folder / "rows.json"
    path.write_bytes(content)
    return [(row.line, json.loads(row.data)) for row in ObjectRows(data_file(path))]


def test_an_array_has_rows_with_the_lines_they_start_on(tmp_path: Path) -> None:
    """A row of two lines moves the next one down; a mark before the array is left out."""
    path = tmp_path / "rows.json"
    path.write_bytes(b'\xef\xbb\xbf[{"a": 1},\n\n {"b":\n 2}, {"c": 3}]')
    assert [(row.line, row.data) for row in ArrayRows(data_file(path))] == [
        (1, b'{"a": 1}'),
        (3, b'{"b":\n 2}'),
        (4, b'{"c": 3}'),
    ]


def test_an_array_that_is_broken_names_the_line_and_two_ways_out(tmp_path: Path) -> None:
    """The file can be fixed, or written as lines."""
    path = tmp_path / "rows.json"
    path.write_bytes(b'[{"a": 1},\n{"b" 2}]')
    with pytest.raises(TsplannerError) as caught:
        list(ArrayRows(data_file(path)))
    assert str(caught.value).startswith(f"{path}:2: starts like a JSON array but is not one (")
    assert str(caught.value).endswith("fix the file or write one row per line (.jsonl)")


@given(
    rows=st.lists(
        st.dictionaries(st.text(max_size=3), st.text(max_size=5), max_size=3),
        min_size=2,
        max_size=5,
    ),
    gaps=st.lists(st.sampled_from(["", " ", "\n", "\n\n\n"]), min_size=5, max_size=5),
    indent=st.sampled_from([None, 1, 4]),
)
@settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_objects_one_after_another_keep_their_lines(
    tmp_path: Path, rows: list[dict[str, str]], gaps: list[str], indent: int | None
) -> None:
    """However they are printed and whatever lies between them."""
    text, expected = "", []
    for row, gap in zip(rows, gaps, strict=False):
        expected.append((text.count("\n") + 1, row))
        text += json.dumps(row, indent=indent) + gap
    path = tmp_path / "rows.json"
    path.write_text(text)
    found = [(row.line, json.loads(row.data)) for row in ObjectRows(data_file(path))]
    assert found == expected


def test_a_damaged_object_ends_where_the_next_begins(tmp_path: Path) -> None:
    """Only the second of three is lost, and its line is known."""
    path = tmp_path / "rows.json"
    path.write_text('{\n"a": 1\n}\n{\n"a" 2\n}\n{\n"a": 3\n}\n{\n"a": ')
    rows = list(ObjectRows(data_file(path)))
    assert [row.line for row in rows] == [1, 4, 7, 10]
    assert json.loads(rows[2].data) == {"a": 3}
    assert not rows[3].complete


TWO = [(1, {"q": "a", "n": 1}), (2, {"q": "b", "n": 2})]


@pytest.mark.parametrize(
    "whole",
    [
        {"q": {"0": "a", "1": "b"}, "n": {"0": 1, "1": 2}},
        {"q": ["a", "b"], "n": [1, 2]},
        {"columns": ["q", "n"], "index": [0, 1], "data": [["a", 1], ["b", 2]]},
    ],
)
def test_columns_as_pandas_writes_them_are_rows(tmp_path: Path, whole: dict[str, object]) -> None:
    """By its default, as lists, and with "split"; a row's line is its number."""
    assert objects(tmp_path, json.dumps(whole).encode()) == TWO


def test_a_row_under_each_name_is_a_row(tmp_path: Path) -> None:
    """As pandas writes it with "index"; each row keeps its line."""
    content = b'{"x": {"q": "a", "n": 1},\n "y": {"q": "b", "n": 2}}'
    assert objects(tmp_path, content) == TWO


def test_rows_under_a_name_keep_their_lines(tmp_path: Path) -> None:
    """The version beside them is no row."""
    content = b'{"version": "1",\n "data": [\n {"q": "a", "n": 1},\n {"q": "b", "n": 2}\n]}'
    assert objects(tmp_path, content) == [(3, TWO[0][1]), (4, TWO[1][1])]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "a"}], "tools": [{"name": "w"}]},
        {"data": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
        {"instruction": "a", "output": "b"},
        {"input": "a", "timeseries": [[1.0]], "output": "b"},
        {"q": ["a", "b"], "n": [1]},
        {},
    ],
)
def test_one_row_alone_is_not_taken_for_columns(tmp_path: Path, row: dict[str, object]) -> None:
    """Turns are objects, and columns are of one length."""
    assert objects(tmp_path, json.dumps(row).encode()) == [(1, row)]
    assert list(nested_rows(RawRow(1, json.dumps(row).encode()), b"")) == []


def test_equal_rows_are_placed_one_behind_the_other() -> None:
    """The same bytes twice have two lines."""
    import msgspec

    data = b'[{"a":1},\n{"a":1}]'
    rows = msgspec.json.decode(data, type=list[msgspec.Raw])
    assert [row.line for row in placed(data, rows, 0)] == [1, 2]


def test_what_stands_beside_the_rows_is_said(tmp_path: Path) -> None:
    """A second split, or a text for all rows, does not vanish without a word."""
    path = tmp_path / "rows.json"
    path.write_text('{"train": [{"q": "a"}, {"q": "b"}], "test": [{"q": "c"}], "about": "x"}')
    rows = list(ObjectRows(data_file(path)))
    assert [row.beside for row in rows] == [("test beside train", "about beside train")] * 2


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "a", "instances": [{"input": "b", "output": "c"}]},
        {"dialog": ["a", "b"], "act": [1, 2]},
    ],
)
def test_one_line_alone_is_a_row_where_the_file_has_rows_by_lines(
    tmp_path: Path, row: dict[str, object]
) -> None:
    """Its lists are its own; the numbered columns of pandas are no row's."""
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    assert [json.loads(each.data) for each in ObjectRows(data_file(path))] == [row]
    path.write_text('{"q": {"0": "a", "1": "b"}}')
    assert [json.loads(each.data) for each in ObjectRows(data_file(path))] == [
        {"q": "a"},
        {"q": "b"},
    ]
