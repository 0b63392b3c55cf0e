"""Datasets as people really have them: three formats, and rows that are broken in many ways."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memory_models.architecture import TimeSeriesEncoder
from tests.support.rows import conversation, written_bytes
from tsplanner.datasets.records import Conversation, DroppedRow
from tsplanner.datasets.rows.readers import (
    DatasetReader,
    first_conversation,
    read_conversations,
    read_rows,
)
from tsplanner.errors import TsplannerError

GOOD = {"input": "See <ts><ts/>", "output": "Up.", "timeseries": [[1, 2.5, 3]]}
GOOD_LINE = json.dumps(GOOD).encode()


def test_chatts_row_is_read_with_its_line(tmp_path):
    """Integers and floats of a series are read alike; blank lines count as lines."""
    path = written_bytes(tmp_path, b"\n" + GOOD_LINE + b"\n")

    assert [conversation("See <ts><ts/>", "Up.", ((1.0, 2.5, 3.0),), 2)] == list(
        read_conversations(path)
    )


def test_alpaca_list_is_read_with_the_line_of_each_row(tmp_path):
    """A .json file holds one list; instruction and input make the question."""
    path = written_bytes(
        tmp_path,
        b'[\n {"instruction": "Add", "input": "1+1", "output": "2"},\n'
        b' {"instruction": "Name a fish", "output": "Pike"}\n]',
        "rows.json",
    )

    assert [
        conversation("Add\n1+1", "2", line=2),
        conversation("Name a fish", "Pike", line=3),
    ] == list(read_conversations(path))


BAD_ROWS = {
    "more placeholders": (GOOD | {"timeseries": []}, "1 <ts><ts/> in the input but 0 series"),
    "fewer placeholders": (GOOD | {"input": "See"}, "0 <ts><ts/> in the input but 1 series"),
    "missing field": ({"input": "x", "timeseries": []}, 'field "output" is missing'),
    "empty series": (GOOD | {"timeseries": [[]]}, "series 1 is empty"),
    "NaN": (
        GOOD | {"timeseries": [[1.0, float("nan")]]},
        'field "timeseries" holds NaN, which is not a number',
    ),
    "infinity": (
        GOOD | {"timeseries": [[float("-inf")]]},
        'field "timeseries" holds -Infinity, which is not a number',
    ),
    "too large": (GOOD | {"timeseries": [[1e200]]}, "series 1 holds 1e+200 at point 1"),
    "beyond a double": (GOOD | {"timeseries": [[1], [2, 10**400]]}, "series 2 holds 1000000"),
    "text for a number": (GOOD | {"timeseries": [["a"]]}, "series 1 holds 'a' at point 1"),
    "null for a number": (GOOD | {"timeseries": [[1, None]]}, "series 1 holds null at point 2"),
    "a number for a series": (
        GOOD | {"timeseries": [[1], 2]},
        "series 2 is a number, not a list of",
    ),
    "ragged": (GOOD | {"timeseries": [[1, [2]]]}, "series 1 holds a list at point 2"),
    "marker in the answer": (GOOD | {"output": "<ts>"}, "<ts> in the output"),
    "lone marker": (GOOD | {"input": "<ts><ts/> <ts>"}, "a lone <ts> or <ts/> in the input"),
    "empty answer": (GOOD | {"output": " "}, "the answer is empty"),
    "too long": (GOOD | {"timeseries": [[0.0] * 65]}, "series 1 has 65 points, more than"),
    "not an object": ([1, 2], "is a list, not a JSON object"),
}
ENCODER = TimeSeriesEncoder(
    patch_size=8, num_layers=5, hidden_size=8, max_sequence_length=64, use_position_embedding=True
)


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_row_is_dropped_with_its_line_and_reason(tmp_path, name):
    """With --on-bad-rows drop the rows around a bad one are kept."""
    row, reason = BAD_ROWS[name]
    path = written_bytes(tmp_path, b"\n".join([GOOD_LINE, json.dumps(row).encode(), GOOD_LINE]))

    first, bad, last = read_rows(path, encoder=ENCODER, on_bad="drop")

    assert isinstance(bad, DroppedRow)
    assert bad.line == 2
    assert bad.reason.startswith(reason)
    assert (first.line, last.line) == (1, 3)


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_row_is_refused_by_default(tmp_path, name):
    """Without it the error names file, line, reason and the way out."""
    row, reason = BAD_ROWS[name]
    path = written_bytes(tmp_path, GOOD_LINE + b"\n" + json.dumps(row).encode() + b"\n")

    with pytest.raises(TsplannerError) as caught:
        list(read_rows(path, encoder=ENCODER))

    assert str(caught.value).startswith(f"{path}:2: {reason}")
    assert str(caught.value).endswith("--on-bad-rows drop")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"[]", "is empty"),
        (b"\n\n", "is empty"),
        (b'{"q": "x", "label": "y"}', "no known form has the fields label, q: give"),
        (b"nonsense", "is not JSON"),
        (b'[\n{"instruction": "x"', "rows.jsonl:2: starts like a JSON array but is not one"),
    ],
)
def test_file_without_rows_is_one_clear_sentence(tmp_path, content, sentence):
    """Empty, unknown or broken: the message says which."""
    path = written_bytes(tmp_path, content)

    with pytest.raises(TsplannerError, match=sentence):
        list(read_rows(path))


def test_missing_file_names_the_flag(tmp_path):
    """A path with a typing error is answered with the flag to look at."""
    with pytest.raises(TsplannerError, match="No such file or directory; check --dataset"):
        list(read_rows(tmp_path / "no.jsonl"))


def test_file_of_bad_rows_only_is_refused_even_if_rows_may_be_dropped(tmp_path):
    """Dropping everything would train on nothing."""
    path = written_bytes(tmp_path, json.dumps(GOOD | {"timeseries": []}).encode())

    with pytest.raises(TsplannerError, match="has no usable row: line 1: 1 <ts><ts/>"):
        list(read_rows(path, encoder=ENCODER, on_bad="drop"))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        "input",
        "output",
        "timeseries",
        "instruction",
        "conversations",
        "messages",
        "text",
        "prompt",
        "tools",
        "history",
        "system",
        "label",
        "images",
        "chosen",
    ]
)
ROW_LIKE = st.dictionaries(FIELDS, JSON_VALUES).map(lambda row: json.dumps(row).encode())
LINES = st.lists(ROW_LIKE | st.just(GOOD_LINE) | st.binary(max_size=40), max_size=4)


@settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(lines=LINES, array=st.booleans(), on_bad=st.sampled_from(["drop", "refuse"]))
def test_no_bytes_raise_anything_but_one_clear_error(tmp_path, lines, array, on_bad):
    """Whatever is in the file, people see rows or a TsplannerError, never a traceback."""
    content = b"[" + b",".join(lines) + b"]" if array else b"\n".join(lines)
    path = written_bytes(tmp_path, content)

    try:
        rows = list(read_rows(path, on_bad=on_bad))
    except TsplannerError:
        return

    assert any(isinstance(row, Conversation) for row in rows)


SAID = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
ROWS_SAID = st.lists(
    st.tuples(SAID, SAID, SAID.filter(str.strip)), min_size=1, max_size=4
)  # system text, question and answer of each row
SPELLINGS = {
    "messages": lambda s, q, a: {
        "messages": [
            *([{"role": "system", "content": s}] if s else []),
            {"role": "user", "content": q},
            {"role": "assistant", "content": a},
        ]
    },
    "sharegpt": lambda s, q, a: {
        "conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}],
        "system": s,
    },
    "alpaca": lambda s, q, a: {"instruction": q, "output": a, "system": s},
    "pair": lambda s, q, a: {"question": q, "answer": a, "system": s},
    "prompt": lambda s, q, a: {
        "system": s,
        "prompt": [{"role": "user", "content": q}],
        "completion": {"role": "assistant", "content": a},
    },
}


def put(folder: Path, how: str, rows: list[dict[str, object]]) -> Path:
    """Rows written to a file of a kind."""
    if how == "parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
        return folder / "rows.parquet"
    if how == "csv":
        with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerow(rows[0])
            for row in rows:
                cells = (
                    each if isinstance(each, str) else json.dumps(each) for each in row.values()
                )
                writer.writerow(cells)
        return folder / "rows.csv"
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    content = {
        "lines": lines,
        "gzip": gzip.compress(lines),
        "array": json.dumps(rows).encode(),
        "pretty": "\n".join(json.dumps(row, indent=2) for row in rows).encode(),
        "columns": json.dumps(
            {name: {str(n): row[name] for n, row in enumerate(rows)} for name in rows[0]}
        ).encode(),
    }
    return written_bytes(folder, content[how], f"rows-{how}.json")


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=ROWS_SAID,
    spelling=st.sampled_from(sorted(SPELLINGS)),
    how=st.sampled_from(["lines", "gzip", "array", "pretty", "columns", "csv", "parquet"]),
)
def test_the_same_dialogues_are_read_whatever_they_are_written_as(tmp_path, rows, spelling, how):
    """Every spelling in every kind of file gives the same turns."""
    if spelling == "prompt" and how == "csv":
        return  # a cell that begins with a bracket may be the text of a prompt
    path = put(tmp_path, how, [SPELLINGS[spelling](*row) for row in rows])
    expected = []
    for system, question, answer in rows:
        turns = [("system", system)] if system else []
        expected.append([*turns, ("user", question), ("assistant", answer)])
    found = [
        [(str(turn.role), turn.content) for turn in row.turns] for row in read_conversations(path)
    ]
    assert found == expected


def test_every_kind_of_trouble_in_one_folder_is_named_with_its_file_and_line(tmp_path):
    """Three files; of their rows two are good."""
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n{"prompt": "x"}\n')
    (tmp_path / "b.csv").write_text("question;answer\nx;y\nx;y;z\n")
    (tmp_path / "c.json").write_text('[\n{"chosen": "x", "rejected": "y"}]')
    reader = DatasetReader(tmp_path)
    bad = [row for row in reader.rows("drop") if isinstance(row, DroppedRow)]
    assert [reader.raw.place(row).removeprefix(f"{tmp_path}/") for row in bad] == [
        "a.jsonl:2", "b.csv:3", "c.json:2",
    ]  # fmt: skip
    assert [str(row.fault) for row in bad] == [
        "field missing", "wrong number of cells", "preference data",
    ]  # fmt: skip
    first = first_conversation(tmp_path)
    assert first is not None
    assert first.text == "x"
