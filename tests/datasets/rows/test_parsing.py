"""One row: a checked sample, or the reason why it is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.rows import ENCODER, written_bytes
from tsplanner.datasets.records import Conversation, DroppedRow, Fault
from tsplanner.datasets.rows.formats import FORMATS
from tsplanner.datasets.rows.parsing import RowParser, detected_format, json_fault
from tsplanner.datasets.rows.raw import RawRow
from tsplanner.datasets.rows.readers import read_rows
from tsplanner.errors import TsplannerError

GOOD = {"input": "See <ts><ts/>", "output": "Up.", "timeseries": [[1, 2.5, 3]]}


GOOD_LINE = json.dumps(GOOD).encode()


def test_bytes_that_are_not_utf8_name_the_byte(tmp_path):
    """A Latin-1 file is recognised as such."""
    path = written_bytes(tmp_path, GOOD_LINE + b'\n{"input": "caf\xe9"}\n')

    assert DroppedRow(
        line=2, fault=Fault.NOT_UTF8, reason="is not UTF-8 (byte 15 of the row)"
    ) in read_rows(path, on_bad="drop")


def test_last_line_cut_off_is_called_so(tmp_path):
    """An interrupted download shows as a row that ends too soon."""
    path = written_bytes(tmp_path, GOOD_LINE + b"\n" + GOOD_LINE[:-20])

    assert DroppedRow(
        line=2, fault=Fault.CUT_OFF, reason="is cut off: the last line ends before its JSON does"
    ) in read_rows(path, on_bad="drop")


def test_a_row_with_an_image_is_not_trained_without_it() -> None:
    """An empty list is no image; the field's content stays undecoded."""
    row_format = detected_format(Path("rows.jsonl"), RawRow(1, b'{"messages": []}'))
    assert row_format is not None
    turns = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "A cat."}]
    parser = RowParser(row_format, None)
    for images, bad in (([], False), (None, False), (["cat.png"], True)):
        data = json.dumps({"messages": turns, "images": images}).encode()
        found = parser.parsed(RawRow(2, data))
        assert isinstance(found, DroppedRow) == bad
    assert found == DroppedRow(
        line=2,
        fault=Fault.MEDIA,
        reason="images is not empty, and only text and series are trained",
    )


@pytest.mark.parametrize(
    ("data", "fault", "reason"),
    [
        (b'{"a": NaN}', Fault.NOT_A_NUMBER, "holds NaN, which is not a number"),
        (b"\xff", Fault.NOT_UTF8, "is not UTF-8 (byte 1 of the row)"),
        (b"{", Fault.NOT_JSON, "is not JSON (Expecting property name"),
        (b"[1]", Fault.WRONG_TYPE, "is not a JSON object with numbers in range"),
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


def test_the_format_of_a_row_is_detected_or_its_fields_are_named() -> None:
    """Bytes that are no object have no format; an object of an unknown one is refused."""
    found = detected_format(Path("d.jsonl"), RawRow(1, b'{"instruction": "a", "output": "b"}'))
    assert found is not None
    assert found.name == "alpaca"
    assert detected_format(Path("d.jsonl"), RawRow(1, b"[]")) is None
    with pytest.raises(TsplannerError, match=r"d\.jsonl:7: no known .* has the fields answer, q;"):
        detected_format(Path("d.jsonl"), RawRow(7, b'{"q": "a", "answer": "b"}'))


def test_a_row_of_the_wrong_type_says_what_was_expected() -> None:
    """The decoder's own words follow the place of the row."""
    parser = RowParser(FORMATS[0], None)
    row = parser.parsed(RawRow(4, b'{"input": 3, "output": "x", "timeseries": []}'))
    assert isinstance(row, DroppedRow)
    assert (row.line, row.fault) == (4, Fault.WRONG_TYPE)
    assert row.reason == "expected `str`, got `int` - at `$.input`"


@given(data=st.binary(max_size=60))
def test_no_bytes_raise_while_a_row_is_parsed(data: bytes) -> None:
    """Every row becomes a sample or a reason."""
    for row_format in FORMATS:
        row = RowParser(row_format, ENCODER).parsed(RawRow(1, data))
        assert isinstance(row, DroppedRow | Conversation)
        assert row.line == 1
