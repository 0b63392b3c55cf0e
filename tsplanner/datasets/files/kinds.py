"""How the rows lie in a file, by its first bytes and its ending."""

from __future__ import annotations

import csv
import json
from itertools import islice
from pathlib import Path
from typing import IO

from tsplanner.datasets.files.encodings import mending, wide_encoding
from tsplanner.datasets.files.records import DataFile, FileKind
from tsplanner.datasets.files.signatures import ARROW_FILE, ARROW_STREAM, PARQUET, foreign
from tsplanner.datasets.files.streams import GZIP_SIGN, clear_errors, file_bytes, opened
from tsplanner.errors import TsplannerError

START_BYTES = 1 << 16
JSON_ENDINGS = (".json", ".jsonl", ".ndjson", ".jsonlines")
TABLE_ENDINGS = (".csv", ".tsv", ".tab")
COLUMNAR_ENDINGS = (".parquet", ".pq", ".arrow", ".feather")
ENDINGS = (*JSON_ENDINGS, *TABLE_ENDINGS, *COLUMNAR_ENDINGS)
"""Endings of files that hold rows, each of which may be followed by ``.gz``."""
LINES_LOOKED_AT = 20
SEPARATORS = ",;\t|"
"""Characters that may stand between two cells."""
SEPARATOR_LINE = "sep="
"""Beginning of a line above the heading, which tells spreadsheets the separator."""
TAB_ENDINGS = (".tsv", ".tab")


def data_file(path: Path, number: int = 0) -> DataFile:
    """A file with the kind of its rows.

    Raises TsplannerError: the file cannot be read, or is of a kind that is not read.
    """
    size = file_bytes(path)
    with clear_errors(path), path.open("rb") as stream:
        compressed = stream.read(2) == GZIP_SIGN
    name = path.name.lower()
    name = name.removesuffix(".gz") if compressed else name
    with opened(path, compressed=compressed) as stream:
        start = stream.read(START_BYTES)
        # An archive is told by the ending of the whole name: .tar.gz.
        _refuse_foreign(path, name, start)
        kind = _columnar(path, start, compressed) or _text_kind(path, name, start, stream)
    return DataFile(
        path=path,
        kind=kind,
        bytes=size,
        number=number,
        compressed=compressed,
        separator=separator_of(name, start) if kind is FileKind.TABLE else ",",
    )


def separator_of(name: str, start: bytes) -> str:
    """The character between two cells of a table, by the file's name and its first bytes."""
    if name.endswith(TAB_ENDINGS):
        return "\t"
    heading = start.split(b"\n", 1)[0].decode("utf-8", "replace").rstrip("\r")
    if heading[:-1] == SEPARATOR_LINE and heading[-1] in SEPARATORS:
        return heading[-1]
    # Spreadsheets of many countries write semicolons into a file that ends in .csv. The separator
    # that cuts the heading into the most cells is the file's own; a comma wins a tie.
    return max(SEPARATORS, key=lambda sign: len(next(csv.reader([heading], delimiter=sign), [])))


def _refuse_foreign(path: Path, name: str, start: bytes) -> None:
    if (kind := foreign(name, start)) is not None:
        raise TsplannerError(f"dataset {path} is {kind.name} and is not read: {kind.advice}")
    # The first bytes of the binary kinds that are read may look like wide characters.
    columnar = start.startswith((PARQUET, ARROW_FILE, ARROW_STREAM))
    if not columnar and (encoding := wide_encoding(start)) is not None:
        raise TsplannerError(
            f"dataset {path} is text in {encoding}, and rows are read as UTF-8: "
            f"{mending(path, encoding)}"
        )


def _columnar(path: Path, start: bytes, compressed: bool) -> FileKind | None:
    """Parquet or Arrow, by the first bytes."""
    if start.startswith(PARQUET):
        kind = FileKind.PARQUET
    elif start.startswith((ARROW_FILE, ARROW_STREAM)):
        kind = FileKind.ARROW
    else:
        return None
    if compressed:
        raise TsplannerError(
            f"dataset {path} is a {kind} file in gzip, which has no row groups to read: unpack it "
            "with gunzip"
        )
    return kind


def _text_kind(path: Path, name: str, start: bytes, stream: IO[bytes]) -> FileKind:
    """The kind of a text."""
    text = start.lstrip()
    by_lines = _json_kind(text, stream)
    if name.endswith(TABLE_ENDINGS) and by_lines in (None, FileKind.OBJECTS):
        return FileKind.TABLE
    if by_lines is not None:
        return by_lines
    if text.startswith(b"["):
        return FileKind.LINES if _is_list_by_line(text) else FileKind.ARRAY
    # A damaged first line is a bad row of such a file; in another file no line may be a row.
    if not text or name.endswith(JSON_ENDINGS) or b"\n{" in start:
        return FileKind.LINES
    if name.endswith(COLUMNAR_ENDINGS):
        raise TsplannerError(
            f"dataset {path} does not begin like the file that its ending names; fetch it again"
        )
    raise TsplannerError(
        f"dataset {path} holds neither JSON nor a table: write each text as "
        '{"text": "..."} on a line of its own (.jsonl), or name a table with a heading .csv'
    )


def _is_list_by_line(text: bytes) -> bool:
    """Whether the first line is a list of its own, and the next one begins another."""
    first, _, rest = text.partition(b"\n")
    if not rest.lstrip().startswith(b"["):
        return False
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return True


def _json_kind(text: bytes, stream: IO[bytes]) -> FileKind | None:
    """Lines or objects over several lines; None: the text does not begin with an object."""
    if not text.startswith(b"{"):
        return None
    if b"\n" not in text:
        text += stream.readline()
    first, *rest = text.split(b"\n", LINES_LOOKED_AT)
    following = next((line for line in rest if line.strip()), b"")
    if not following:
        following = next((line for line in islice(stream, LINES_LOOKED_AT) if line.strip()), b"")
    try:
        _, end = json.JSONDecoder().raw_decode(line := first.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        # Behind a damaged line another row begins; behind an object's first line its fields do.
        return FileKind.LINES if following.startswith(b"{") else FileKind.OBJECTS
    # One object alone may hold all rows, and several may stand on one line.
    if not following or line[end:].lstrip().startswith("{"):
        return FileKind.OBJECTS
    return FileKind.LINES
