"""One row: a checked conversation, or the reason why it is none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.rows import ENCODER, conversation, written_bytes
from tsplanner.datasets.files.records import RawRow
from tsplanner.datasets.records import Conversation, DroppedRow, Fault
from tsplanner.datasets.rows.parsing import RowParser, json_fault
from tsplanner.datasets.rows.readers import read_rows

GOOD = {"input": "See <ts><ts/>", "output": "Up.", "timeseries": [[1, 2.5, 3]]}
GOOD_LINE = json.dumps(GOOD).encode()


def test_bytes_that_are_not_utf8_name_the_byte_and_the_likely_encoding(tmp_path):
    """A Latin-1 file is recognised as such, with the command that mends it."""
    path = written_bytes(tmp_path, GOOD_LINE + b'\n{"input": "caf\xe9"}\n')

    assert DroppedRow(
        line=2,
        fault=Fault.NOT_UTF8,
        reason="is not UTF-8 (byte 15 of the row); it looks like WINDOWS-1252, which iconv -f "
        "WINDOWS-1252 -t UTF-8 mends",
    ) in read_rows(path, on_bad="drop")


def test_last_line_cut_off_is_called_so(tmp_path):
    """An interrupted download shows as a row that ends too soon."""
    path = written_bytes(tmp_path, GOOD_LINE + b"\n" + GOOD_LINE[:-20])

    assert DroppedRow(
        line=2, fault=Fault.CUT_OFF, reason="is cut off: the last line ends before its JSON does"
    ) in read_rows(path, on_bad="drop")


def test_rows_of_one_file_may_have_different_forms() -> None:
    """The first row does not bind the others, and each form is counted."""
    parser = RowParser(None)
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    for row in ({"conversations": turns}, {"instruction": "a", "output": "b", "id": 3}):
        assert parser.parsed(RawRow(1, json.dumps(row).encode())) == conversation("a", "b")
    texts = [(remark.kind, remark.text) for remark in parser.taken_remarks().records()]
    assert texts == [("form", "ShareGPT"), ("form", "alpaca"), ("not read", "id")]
    assert parser.remarks.records() == ()


def test_a_fault_of_the_file_stays_and_its_place_is_kept() -> None:
    """A row of a table with too many cells is not parsed."""
    raw = RawRow(5, b"", fault=Fault.CELLS, reason="has 3 cells", file=2)
    assert RowParser(None).parsed(raw) == DroppedRow(
        line=5, fault=Fault.CELLS, reason="has 3 cells", file=2
    )


def test_series_are_bad_for_a_model_that_reads_text_alone() -> None:
    """Without a model they may stand."""
    found = RowParser(None, text_only=True).parsed(RawRow(1, GOOD_LINE))
    assert isinstance(found, DroppedRow)
    assert found.fault is Fault.SERIES
    assert isinstance(RowParser(None).parsed(RawRow(1, GOOD_LINE)), Conversation)


@pytest.mark.parametrize(
    ("data", "fault", "reason"),
    [
        (b'{"a": NaN}', Fault.NOT_A_NUMBER, 'field "a" holds NaN, which is not a number'),
        (b'{"a": 1, "b": {"c": [0, -Infinity]}}', Fault.NOT_A_NUMBER, 'field "b" holds -Infinity'),
        (b"\xff", Fault.NOT_UTF8, "is not UTF-8 (byte 1 of the row)"),
        (b"{", Fault.NOT_JSON, "is not JSON (Expecting property name"),
        (b"[1]", Fault.WRONG_TYPE, "is a list, not a JSON object"),
        (b"null", Fault.WRONG_TYPE, "is null, not a JSON object"),
        (b'{"b": 1, "a": "\\ud800"}', Fault.WRONG_TYPE, 'field "a" holds half a character'),
    ],
)
def test_bytes_that_are_no_row_have_a_reason(data: bytes, fault: Fault, reason: str) -> None:
    """The line is complete here, so nothing was cut off."""
    found = json_fault(RawRow(1, data))
    assert found[0] is fault
    assert found[1].startswith(reason)


def test_a_line_without_its_end_was_cut_off() -> None:
    """The same bytes in the middle of a file are only broken."""
    assert json_fault(RawRow(1, b'{"input": "x', complete=False))[0] is Fault.CUT_OFF
    assert json_fault(RawRow(1, b'{"input": "x', complete=True))[0] is Fault.NOT_JSON


@given(data=st.binary(max_size=60))
def test_no_bytes_raise_while_a_row_is_parsed(data: bytes) -> None:
    """Every row becomes a conversation or a reason."""
    row = RowParser(ENCODER).parsed(RawRow(1, data))
    assert isinstance(row, DroppedRow | Conversation)
    assert row.line == 1
