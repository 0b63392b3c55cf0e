"""From the bytes of one row to a checked Conversation, or to the reason why the row is bad."""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec

from memory_models.architecture import TimeSeriesEncoder
from tsplanner.datasets.files.encodings import likely_encoding
from tsplanner.datasets.files.records import RawRow
from tsplanner.datasets.records import Conversation, DroppedRow, Fault, Noticed
from tsplanner.datasets.rows.checks import conversation_fault
from tsplanner.datasets.rows.conversations import ConversationReader
from tsplanner.datasets.rows.fields import RowError, kind_of
from tsplanner.datasets.rows.remarks import Remarks
from tsplanner.errors import named


class RowParser:
    """Decodes and checks rows; every row may have a form of its own."""

    def __init__(
        self,
        encoder: TimeSeriesEncoder | None,
        columns: Mapping[str, str] | None = None,
        *,
        text_only: bool = False,
    ) -> None:
        """``columns``: our names of fields and the dataset's own.

        ``text_only``: the model reads no series, and a row with some is bad.
        """
        self._encoder, self._text_only = encoder, text_only
        self._reader = ConversationReader(columns)
        # Only the names of the fields are decoded here: a field that nobody reads may hold much.
        self._decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

    @property
    def remarks(self) -> Remarks:
        """What was noticed in the rows so far."""
        return self._reader.remarks

    def taken_remarks(self) -> Remarks:
        """What was noticed since they were last taken."""
        taken, self._reader.remarks = self._reader.remarks, Remarks()
        return taken

    def parsed(self, raw: RawRow) -> Conversation | DroppedRow:
        """The row as a Conversation, or as a DroppedRow with the reason."""
        if raw.fault is not None:
            return _dropped(raw, (raw.fault, raw.reason))
        try:
            found = self._reader.read(self._decode(raw.data), raw.line, raw.file)
        except RowError as error:
            # In another encoding the names of fields may be damaged, which is no fault of theirs.
            whole = _is_utf8(raw.data)
            return _dropped(raw, (error.fault, str(error)) if whole else json_fault(raw))
        # Deep nesting and bytes that are no UTF-8 raise errors that are not msgspec's own.
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return _dropped(raw, json_fault(raw))
        fault = conversation_fault(found, encoder=self._encoder, text_only=self._text_only)
        if fault is not None:
            return _dropped(raw, fault)
        self._reader.count(raw.line, raw.file)
        for name in raw.beside:
            self.remarks.note(Noticed.IGNORED, name, raw.line, raw.file)
        return found


def _dropped(raw: RawRow, found: tuple[Fault, str]) -> DroppedRow:
    return DroppedRow(line=raw.line, fault=found[0], reason=found[1], file=raw.file)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


class _NotFinite(str):
    """NaN, Infinity or -Infinity, which Python writes although JSON has no such values."""


def json_fault(raw: RawRow) -> tuple[Fault, str]:
    """Why these bytes are not a row; slow, so it is called only for rows known to be bad."""
    try:
        found = json.loads(raw.data.decode("utf-8"), parse_constant=_NotFinite)
    except UnicodeDecodeError as error:
        encoding = likely_encoding(raw.data)
        return (
            Fault.NOT_UTF8,
            f"is not UTF-8 (byte {error.start + 1} of the row); it looks like {encoding}, which "
            f"iconv -f {encoding} -t UTF-8 mends",
        )
    except (ValueError, RecursionError) as error:
        data = raw.data.strip()
        if not raw.complete and data.startswith(b"{") and not data.endswith(b"}"):
            return Fault.CUT_OFF, "is cut off: the last line ends before its JSON does"
        return Fault.NOT_JSON, f"is not JSON ({_shortened(str(error))})"
    if not isinstance(found, dict):
        hint = '; write a dialogue as {"messages": [...]}' if isinstance(found, list) else ""
        return Fault.WRONG_TYPE, f"is {kind_of(found)}, not a JSON object{hint}"
    if (constant := _not_finite(found)) is not None:
        return Fault.NOT_A_NUMBER, constant
    # Python's parser takes what msgspec refused: half characters, and some numbers.
    name = next((name for name, value in found.items() if not _is_readable({name: value})), "")
    return Fault.WRONG_TYPE, f"field {named(name)} holds half a character or a number out of range"


def _not_finite(row: dict[str, object]) -> str | None:
    """The first field that holds a constant which JSON has not, for a sentence."""
    for name, value in row.items():
        # A list in place of recursion: a row may be nested deeper than Python calls.
        within = [value]
        while within:
            each = within.pop()
            if isinstance(each, _NotFinite):
                return f"field {named(name)} holds {each}, which is not a number"
            if isinstance(each, dict | list):
                within += each.values() if isinstance(each, dict) else each
    return None


def _is_readable(value: object) -> bool:
    try:
        msgspec.json.decode(json.dumps(value))
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True


def _shortened(text: str, limit: int = 120) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
