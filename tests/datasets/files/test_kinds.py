"""How rows lie in a file is found from its first bytes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tsplanner.datasets.files.kinds import data_file, separator_of
from tsplanner.datasets.files.records import FileKind
from tsplanner.errors import TsplannerError

ROW = b'{"instruction": "a", "output": "b"}'
PRETTY = json.dumps(json.loads(ROW), indent=2).encode()


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.jsonl", ROW + b"\n" + ROW, FileKind.LINES),
        ("a.json", ROW + b"\r\n\r\n" + ROW, FileKind.LINES),
        ("a.json", b"[" + ROW + b"]", FileKind.ARRAY),
        ("a.txt", b" \n [" + ROW + b"]", FileKind.ARRAY),
        ("a.json", b"[\n" + ROW + b"\n]", FileKind.ARRAY),
        ("a.json", b"[[1],\n[2]]", FileKind.ARRAY),
        ("a.jsonl", b"[1]\n[2]", FileKind.LINES),
        ("a.jsonl", PRETTY + b"\n" + PRETTY, FileKind.OBJECTS),
        ("a", ROW + ROW, FileKind.OBJECTS),
        ("a.json", ROW, FileKind.OBJECTS),
        ("a.jsonl", b"", FileKind.LINES),
        # A damaged first line is a bad row and no other kind of file.
        ("a.jsonl", ROW[:-5] + b"\n" + ROW, FileKind.LINES),
        ("a.jsonl", b"nonsense\n" + ROW, FileKind.LINES),
        ("a.txt", b"nonsense\n" + ROW, FileKind.LINES),
        ("a.jsonl", b"nonsense", FileKind.LINES),
        ("a.csv", b"instruction,output\na,b\n", FileKind.TABLE),
        ("a.TSV", b"instruction\toutput\na\tb\n", FileKind.TABLE),
        ("a.csv", ROW + b"\n" + ROW, FileKind.LINES),
        ("a.csv", b"{x,y}\n", FileKind.TABLE),
        ("a.bin", b"PAR1....", FileKind.PARQUET),
        ("a.bin", b"ARROW1\0\0", FileKind.ARROW),
        ("a.bin", b"\xff\xff\xff\xff\x10\0\0\0", FileKind.ARROW),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_the_kind_of_a_file(
    tmp_path: Path, name: str, content: bytes, kind: FileKind, packed: bool
) -> None:
    """Compressed text is known as text; an ending decides only between table and text."""
    if packed and kind in (FileKind.PARQUET, FileKind.ARROW):
        return
    path = tmp_path / (f"{name}.gz" if packed else name)
    path.write_bytes(gzip.compress(content) if packed else content)
    found = data_file(path, 3)
    assert (found.kind, found.compressed, found.number) == (kind, packed, 3)
    assert found.bytes == path.stat().st_size


def test_a_first_line_longer_than_the_first_bytes_is_read_to_its_end(tmp_path: Path) -> None:
    """A row of 200 kB and one behind it are lines."""
    path = tmp_path / "a.jsonl"
    long = json.dumps({"input": "x" * 200_000, "output": "y"}).encode()
    path.write_bytes(long + b"\n" + ROW)
    assert data_file(path).kind is FileKind.LINES
    path.write_bytes(long)
    assert data_file(path).kind is FileKind.OBJECTS


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.xlsx", b"PK\x03\x04", "is an Excel workbook and is not read: save the sheet as CSV"),
        ("a.jsonl", ROW.decode().encode("utf-16"), "is text in UTF-16, .*: iconv -f UTF-16 -t UTF"),
        ("a.txt", b"Once upon a time", "holds neither JSON nor a table: write each text as"),
        ("a.parquet", b"Once upon a time", "does not begin like the file that its ending names"),
        ("a.parquet.gz", gzip.compress(b"PAR1", mtime=0), "is a Parquet file in gzip, .*gunzip"),
        ("a.tgz", gzip.compress(b"x" * 600, mtime=0), "is a tar archive"),
    ],
)
def test_a_file_that_is_not_read_says_what_it_is_and_what_to_do(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    """Nothing is called bad JSON that was never meant to be JSON."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(TsplannerError, match=sentence):
        data_file(path)


@pytest.mark.parametrize(
    ("name", "heading", "separator"),
    [
        ("a.csv", b"a,b;c\n1;2", ","),
        ("a.csv", b"a;b;c\n1;2;3", ";"),
        ("a.csv", b"a\tb\n", "\t"),
        ("a.csv", b'"x, y, z";b;c\n', ";"),
        ("a.csv", b"text\n", ","),
        ("a.tsv", b"a,b,c\n", "\t"),
    ],
)
def test_the_separator_of_a_table(name: str, heading: bytes, separator: str) -> None:
    """The one that cuts the heading into the most cells; quotes are honoured."""
    assert separator_of(name, heading) == separator
