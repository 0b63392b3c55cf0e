"""Rows of a JSON array, of objects printed over several lines, and of one object of columns.

Only a parser finds where such rows end, so the file is held in memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from tsplanner.datasets.files.records import DataFile, RawRow
from tsplanner.datasets.files.streams import whole
from tsplanner.errors import TsplannerError

ROWS_UNDER = ("data", "rows", "train", "examples", "instances", "items", "records", "samples")
"""Names under which one object may hold the list of all rows."""
LINE_ENDINGS = (".jsonl", ".ndjson", ".jsonlines")
"""Endings of files with a row on each line, of which one object is a row with lists of its own."""
_NO_VALUE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
"""What the decoder raises for bytes that are no JSON value."""
_BYTE = re.compile(r"\(byte (\d+)\)")
_NEXT = re.compile(r"^\{", re.MULTILINE)


class ArrayRows:
    """Rows of one JSON array, each with the line where it starts."""

    def __init__(self, file: DataFile) -> None:
        self.file = file
        self.lines = 0
        """Line of the last row so far."""

    def __iter__(self) -> Iterator[RawRow]:
        """The elements. Raises TsplannerError: the file cannot be read, or is no array."""
        path, number = self.file.path, self.file.number
        data = whole(path, compressed=self.file.compressed)
        try:
            rows = msgspec.json.decode(data, type=list[msgspec.Raw])
        except _NO_VALUE as error:
            found = _BYTE.search(str(error))
            line = 1 + (data[: int(found.group(1))] if found else data).count(b"\n")
            raise TsplannerError(
                f"{path}:{line}: starts like a JSON array but is not one ({error}); "
                "fix the file or write one row per line (.jsonl)"
            ) from error
        for row in placed(data, rows, number):
            self.lines = row.line
            yield row


class ObjectRows:
    """Objects one after another, each over any number of lines, or one object that holds all rows.

    One object holds all rows if it is an object of columns, as pandas writes it by default, has
    ``columns`` and ``data``, as pandas writes it with "split", has a row under each name, as pandas
    writes it with "index", or has the rows as a list under one of `ROWS_UNDER`.
    """

    def __init__(self, file: DataFile) -> None:
        self.file = file
        self.lines = 0
        """Line (of columns: row) of the last row so far."""

    def __iter__(self) -> Iterator[RawRow]:
        """The rows. Raises TsplannerError: the file cannot be read."""
        data = whole(self.file.path, compressed=self.file.compressed)
        text = data.decode("utf-8", "surrogateescape")
        rows = list(_objects(text, self.file.number))
        if len(rows) == 1 and rows[0].complete:
            by_lines = self.file.path.name.lower().removesuffix(".gz").endswith(LINE_ENDINGS)
            rows = list(nested_rows(rows[0], data, by_lines=by_lines)) or rows
        for row in rows:
            self.lines = row.line
            yield row


def _objects(text: str, file: int) -> Iterator[RawRow]:
    """Objects of a text; what is no JSON ends at the next line that begins with a bracket."""
    scan = json.JSONDecoder().raw_decode
    position, line, size = 0, 1, len(text)
    while (start := _after_space(text, position)) < size:
        line += text.count("\n", position, start)
        complete = True
        try:
            _, end = scan(text, start)
        except (ValueError, RecursionError):
            following = _NEXT.search(text, start + 1)
            end = following.start() if following else size
            complete = following is not None
        yield RawRow(line, text[start:end].encode("utf-8", "surrogateescape"), complete, file=file)
        line += text.count("\n", start, end)
        position = end


_SPACE = re.compile(r"\s*")


def _after_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


def placed(data: bytes, rows: Iterable[msgspec.Raw], file: int) -> Iterator[RawRow]:
    """Raw elements of a JSON text in their order, each with the line where it starts."""
    line, position = 1, 0
    for row in rows:
        content = bytes(row)
        # The decoder gives the bytes of a row without their place. Rows come in order, with nothing
        # but white space and commas between them, so the next occurrence is the row itself.
        start = data.find(content, position)
        line += data.count(b"\n", position, start)
        yield RawRow(line, content, file=file)
        line += content.count(b"\n")
        position = start + len(content)


def nested_rows(row: RawRow, data: bytes, *, by_lines: bool = False) -> Iterator[RawRow]:
    """The rows that one object holds; none, if the object is a row itself.

    ``by_lines``: the file should have a row on each line, and lists in an object are those of one
    row, such as its turns.
    """
    try:
        found = msgspec.json.decode(row.data, type=dict[str, msgspec.Raw])
    except _NO_VALUE:
        return
    for name in () if by_lines else ROWS_UNDER:
        inner = _list_of_objects(found.get(name))
        if inner is not None:
            # The list is looked for as a whole, since its rows may stand in other fields as well.
            start = data.find(bytes(found[name]))
            above = data.count(b"\n", 0, start)
            for each in placed(data[start:], inner, row.file):
                yield RawRow(
                    each.line + above,
                    each.data,
                    file=row.file,
                    beside=tuple(f"{other} beside {name}" for other in found if other != name),
                )
            return
    if len(found) > 1 and all(bytes(value)[:1] == b"{" for value in found.values()):
        columns = _columns(found)
        if not columns:
            yield from placed(data, found.values(), row.file)
            return
    columns = _split(found) or _columns(found, lists=not by_lines)
    for number, values in enumerate(zip(*columns.values(), strict=True), start=1):
        content = msgspec.json.encode(dict(zip(columns, values, strict=True)))
        yield RawRow(number, content, file=row.file)


def _list_of_objects(value: msgspec.Raw | None) -> list[msgspec.Raw] | None:
    """The elements of a list of objects that are no turns; None for anything else."""
    if value is None:
        return None
    try:
        rows = msgspec.json.decode(value, type=list[msgspec.Raw])
        fields = msgspec.json.decode(rows[0], type=dict[str, msgspec.Raw]) if rows else {}
    except _NO_VALUE:
        return None
    return rows if fields and not fields.keys() & {"role", "from"} else None


def _split(found: dict[str, msgspec.Raw]) -> dict[str, list[Any]]:
    """Columns by name of an object that keeps names and rows apart; empty, if it is none."""
    if not {"columns", "data"} <= found.keys():
        return {}
    try:
        names = msgspec.json.decode(found["columns"], type=list[str])
        rows = msgspec.json.decode(found["data"], type=list[list[Any]])
    except _NO_VALUE:
        return {}
    if any(len(row) != len(names) for row in rows):
        return {}
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def _columns(found: dict[str, msgspec.Raw], *, lists: bool = True) -> dict[str, list[Any]]:
    """Columns of equal length by name; empty, if the object is no object of columns."""
    columns: dict[str, list[Any]] = {}
    for name, raw in found.items():
        try:
            value = msgspec.json.decode(raw)
        except _NO_VALUE:
            return {}
        if isinstance(value, dict) and all(key.isdecimal() for key in value):
            columns[name] = list(value.values())
        # A list of objects holds the turns of one row, or its tools.
        elif (
            lists and isinstance(value, list) and not any(isinstance(each, dict) for each in value)
        ):
            columns[name] = value
        else:
            return {}
    lengths = {len(column) for column in columns.values()}
    return columns if len(lengths) == 1 and lengths != {0} else {}
