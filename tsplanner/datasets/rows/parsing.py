"""From the bytes of one row to a checked Conversation, or to the reason why the row is bad."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NoReturn

import msgspec

from memory_models.architecture import TimeSeriesEncoder
from tsplanner.datasets.records import Conversation, DroppedRow, Fault
from tsplanner.datasets.rows.checks import conversation_fault
from tsplanner.datasets.rows.formats import RowError, RowFormat, format_of, media_of
from tsplanner.datasets.rows.raw import RawRow
from tsplanner.errors import TsplannerError

_MISSING_FIELD = re.compile(r"missing required field `(\w+)`")
_IN_SERIES = re.compile(r"`\$\.timeseries\[(\d+)\](?:\[(\d+)\])?`")
_FOUND = re.compile(r"got `(\w+)`")


def detected_format(path: Path, raw: RawRow) -> RowFormat | None:
    """The format of a row that is a JSON object; None for any other row.

    Raises TsplannerError: an object of no known format.
    """
    try:
        # Only the names of the fields are wanted, so the values, among them series, stay undecoded.
        row = msgspec.json.decode(raw.data, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    row_format = format_of(frozenset(row))
    if row_format is None:
        # Control characters of a field's name are escaped, as in all that a file brings along.
        fields = repr(", ".join(sorted(row)) or "none")[1:-1]
        raise TsplannerError(
            f"{path}:{raw.line}: no known dataset format has the fields {_shortened(fields)}; give "
            "input + output + timeseries (ChatTS), instruction + output (alpaca) or "
            "conversations or messages (sharegpt)"
        )
    return row_format


class RowParser:
    """Decodes and checks the rows of one dataset."""

    def __init__(self, row_format: RowFormat, encoder: TimeSeriesEncoder | None) -> None:
        self._format = row_format
        self._encoder = encoder
        self._decoder = msgspec.json.Decoder(row_format.row_type)

    def parsed(self, raw: RawRow) -> Conversation | DroppedRow:
        """The row as a Conversation, or as a DroppedRow with the reason."""
        try:
            row = self._decoder.decode(raw.data)
            if (media := media_of(row)) is not None:
                reason = f"{media} is not empty, and only text and series are trained"
                return DroppedRow(line=raw.line, fault=Fault.MEDIA, reason=reason)
            found = self._format.to_conversation(row, raw.line)
        except RowError as error:
            return DroppedRow(line=raw.line, fault=Fault.NO_DIALOGUE, reason=str(error))
        except msgspec.ValidationError as error:
            return _dropped(raw, _type_fault(str(error), raw))
        # Deep nesting and bytes that are no UTF-8 raise errors that are not msgspec's own.
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return _dropped(raw, json_fault(raw))
        fault = conversation_fault(
            found, encoder=self._encoder, holds_series=self._format.holds_series
        )
        return found if fault is None else _dropped(raw, fault)


def _dropped(raw: RawRow, found: tuple[Fault, str]) -> DroppedRow:
    return DroppedRow(line=raw.line, fault=found[0], reason=found[1])


def _type_fault(message: str, raw: RawRow) -> tuple[Fault, str]:
    """The decoder's message in the words of a dataset."""
    if (missing := _MISSING_FIELD.search(message)) is not None:
        return Fault.MISSING_FIELD, f'field "{missing.group(1)}" is missing'
    place = _IN_SERIES.search(message)
    if place is None:
        return Fault.WRONG_TYPE, message[:1].lower() + message[1:]
    number, found = int(place.group(1)) + 1, _FOUND.search(message)
    if place.group(2) is None:
        kind = found.group(1) if found else "another type"
        return Fault.RAGGED, f"series {number} is {kind}, not a list of numbers"
    point = int(place.group(2)) + 1
    if found is not None and found.group(1) in ("array", "object"):
        return Fault.RAGGED, f"series {number} holds an {found.group(1)} at point {point}"
    value = _value_at(raw, number - 1, point - 1)
    return (
        Fault.NOT_A_NUMBER,
        f"series {number} holds {value} at point {point}, which is not a usable number",
    )


def _value_at(raw: RawRow, series: int, point: int) -> str:
    """The value that the decoder refused, as Python writes it."""
    try:
        return _shortened(repr(json.loads(raw.data)["timeseries"][series][point]), 40)
    except (ValueError, LookupError, TypeError, RecursionError):
        return "a value"


class _NotFiniteError(ValueError):
    """NaN, Infinity or -Infinity, which Python writes although JSON has no such values."""


def _refuse_constant(name: str) -> NoReturn:
    raise _NotFiniteError(name)


def json_fault(raw: RawRow) -> tuple[Fault, str]:
    """Why these bytes are not a row; slow, so it is called only for rows known to be bad."""
    try:
        json.loads(raw.data.decode("utf-8"), parse_constant=_refuse_constant)
    except _NotFiniteError as error:
        return Fault.NOT_A_NUMBER, f"holds {error}, which is not a number"
    except UnicodeDecodeError as error:
        return Fault.NOT_UTF8, f"is not UTF-8 (byte {error.start + 1} of the row)"
    except (ValueError, RecursionError) as error:
        data = raw.data.strip()
        if not raw.complete and data.startswith(b"{") and not data.endswith(b"}"):
            return Fault.CUT_OFF, "is cut off: the last line ends before its JSON does"
        return Fault.NOT_JSON, f"is not JSON ({_shortened(str(error))})"
    # Python's parser takes what msgspec refused, so the bytes are JSON but not such a row.
    return Fault.WRONG_TYPE, "is not a JSON object with numbers in range"


def _shortened(text: str, limit: int = 120) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
