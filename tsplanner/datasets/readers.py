"""Streaming readers: a file in, checked samples out, every unusable row named by line and reason.

A JSONL file is read line by line and never held whole; a JSON array is held as text, since its
rows have no other boundary.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import msgspec

from memory_models.architecture import TimeSeriesEncoder
from tsplanner.datasets.checks import sample_fault
from tsplanner.datasets.formats import RowError, RowFormat, format_of
from tsplanner.datasets.records import DroppedRow, OnBad, Sample
from tsplanner.errors import TsplannerError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BYTE = re.compile(r"\(byte (\d+)\)")
_MISSING_FIELD = re.compile(r"missing required field `(\w+)`")


@dataclass(frozen=True, slots=True)
class _RawRow:
    """Bytes of one row, and where it starts."""

    line: int
    data: bytes
    complete: bool = True
    """False for a last line without its line end: it may have been cut off."""


def read_rows(
    path: Path,
    *,
    encoder: TimeSeriesEncoder | None = None,
    on_bad: OnBad | str = OnBad.REFUSE,
) -> Iterator[Sample | DroppedRow]:
    """The rows of a dataset in file order, each a Sample or a DroppedRow.

    The format is that of the first row that is a JSON object. With ``encoder`` series longer
    than its position table are bad rows too.

    Raises TsplannerError: file missing, not readable, empty or of no known format; with
    ``on_bad`` "refuse" also at the first bad row, with its line and reason.
    """
    on_bad = OnBad(on_bad)
    row_format: RowFormat | None = None
    samples, first_fault = 0, None
    for raw in _raw_rows(path):
        if row_format is None:
            row_format = _detected_format(path, raw)
        row = _parsed_row(raw, row_format, encoder)
        if isinstance(row, DroppedRow):
            first_fault = first_fault or row
            if on_bad is OnBad.REFUSE:
                _refuse(path, row)
        else:
            samples += 1
        yield row
    if samples == 0:
        _refuse_empty(path, first_fault)


def read_samples(
    path: Path,
    *,
    encoder: TimeSeriesEncoder | None = None,
    on_bad: OnBad | str = OnBad.REFUSE,
) -> Iterator[Sample]:
    """The usable rows of a dataset; see `read_rows` for what is raised."""
    for row in read_rows(path, encoder=encoder, on_bad=on_bad):
        if isinstance(row, Sample):
            yield row


def dataset_format(path: Path) -> RowFormat:
    """The format of a dataset, from its first readable row.

    Raises TsplannerError: file missing, empty or of no known format.
    """
    for raw in _raw_rows(path):
        if (row_format := _detected_format(path, raw)) is not None:
            return row_format
    _refuse_empty(path, None)


def _raw_rows(path: Path) -> Iterator[_RawRow]:
    try:
        with path.open("rb") as stream:
            start = stream.read(4096).removeprefix(_BYTE_ORDER_MARK).lstrip()
            stream.seek(0)
            if start.startswith(b"["):
                yield from _array_rows(path, stream.read())
            else:
                yield from _line_rows(stream)
    except OSError as error:
        raise TsplannerError(
            f"dataset {path} cannot be read: {error.strerror or error}; check --dataset"
        ) from error


def _line_rows(stream: Iterator[bytes]) -> Iterator[_RawRow]:
    for line, data in enumerate(stream, start=1):
        content = data.removeprefix(_BYTE_ORDER_MARK) if line == 1 else data
        if content.strip():
            yield _RawRow(line, content, complete=content.endswith(b"\n"))


def _array_rows(path: Path, data: bytes) -> Iterator[_RawRow]:
    """Rows of one JSON array, with the line each starts on."""
    try:
        rows = msgspec.json.decode(data.removeprefix(_BYTE_ORDER_MARK), type=list[msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        found = _BYTE.search(str(error))
        line = 1 + data[: int(found.group(1))].count(b"\n") if found else 1 + data.count(b"\n")
        raise TsplannerError(
            f"{path}:{line}: starts like a JSON array but is not one ({error}); "
            "mend the file or write one row a line (.jsonl)"
        ) from error
    line, position = 1, 0
    for row in rows:
        content = bytes(row)
        start = data.find(content, position)
        line += data.count(b"\n", position, start)
        yield _RawRow(line, content)
        line += content.count(b"\n")
        position = start + len(content)


def _detected_format(path: Path, raw: _RawRow) -> RowFormat | None:
    """The format of the first JSON object; None while there has not been one."""
    try:
        row = msgspec.json.decode(raw.data, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    row_format = format_of(frozenset(row))
    if row_format is None:
        fields = ", ".join(sorted(row)) or "none"
        raise TsplannerError(
            f"{path}:{raw.line}: no known dataset format has the fields {_shortened(fields)}; give "
            "input + output + timeseries (ChatTS), instruction + output (alpaca) or "
            "conversations or messages (sharegpt)"
        )
    return row_format


def _parsed_row(
    raw: _RawRow, row_format: RowFormat | None, encoder: TimeSeriesEncoder | None
) -> Sample | DroppedRow:
    if row_format is None:
        return DroppedRow(line=raw.line, reason=_json_fault(raw))
    try:
        row = msgspec.json.decode(raw.data, type=row_format.row_type)
        sample = row_format.to_sample(row, raw.line)
    except RowError as error:
        return DroppedRow(line=raw.line, reason=str(error))
    except msgspec.ValidationError as error:
        return DroppedRow(line=raw.line, reason=_type_fault(str(error)))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return DroppedRow(line=raw.line, reason=_json_fault(raw))
    reason = sample_fault(sample, encoder=encoder, holds_series=row_format.holds_series)
    return sample if reason is None else DroppedRow(line=raw.line, reason=reason)


def _type_fault(message: str) -> str:
    if (found := _MISSING_FIELD.search(message)) is not None:
        return f'field "{found.group(1)}" is missing'
    return message[:1].lower() + message[1:]


class _NotFiniteError(ValueError):
    """NaN, Infinity or -Infinity, which JSON does not know but Python writes."""


def _refuse_constant(name: str) -> NoReturn:
    raise _NotFiniteError(name)


def _json_fault(raw: _RawRow) -> str:
    """Why these bytes are no JSON; slow, so only asked of rows already known to be bad."""
    try:
        json.loads(raw.data.decode("utf-8"), parse_constant=_refuse_constant)
    except _NotFiniteError as error:
        return f"holds {error}, which is not a number"
    except UnicodeDecodeError as error:
        return f"is not UTF-8 (byte {error.start + 1} of the row)"
    except (ValueError, RecursionError) as error:
        data = raw.data.strip()
        if not raw.complete and data.startswith(b"{") and not data.endswith(b"}"):
            return "is cut off: the last line ends before its JSON does"
        return f"is not JSON ({_shortened(str(error))})"
    return "is not a JSON object with numbers in range"


def _shortened(text: str, limit: int = 120) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _refuse(path: Path, row: DroppedRow) -> NoReturn:
    raise TsplannerError(
        f"{path}:{row.line}: {row.reason}; mend the row or leave such rows out with "
        "--on-bad-rows drop"
    )


def _refuse_empty(path: Path, first_fault: DroppedRow | None) -> NoReturn:
    if first_fault is None:
        raise TsplannerError(f"dataset {path} is empty; give a file with at least one row")
    raise TsplannerError(
        f"dataset {path} has no usable row: line {first_fault.line}: {first_fault.reason}"
    )
