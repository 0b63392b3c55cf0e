"""Fields of one row, decoded one by one; a wrong one is named in plain words."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any, TypeAlias

import msgspec

from tsplanner.datasets.records import Fault
from tsplanner.errors import named

LARGEST_VALUE = 1e100
"""Largest absolute value of a series. Beyond it the sums of the normalisation overflow; no
measurement is that large."""
Value: TypeAlias = Annotated[float, msgspec.Meta(ge=-LARGEST_VALUE, le=LARGEST_VALUE)]
"""A value of a series. msgspec checks its range while decoding: a loop over the values would
take more time than all other work on a row."""
Series: TypeAlias = tuple[tuple[Value, ...], ...]

NULL = msgspec.Raw(b"null")
NOTHING = frozenset({b"null", b"[]", b'""', b"{}"})

_text = msgspec.json.Decoder(str).decode
_series = msgspec.json.Decoder(Series).decode
_value = msgspec.json.Decoder().decode


_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What the decoder raises for JSON that is none of its values."""


class RowError(ValueError):
    """A row that cannot be trained on; the text is the reason."""

    def __init__(self, reason: str, fault: Fault = Fault.NO_DIALOGUE) -> None:
        super().__init__(reason)
        self.fault = fault


class Fields(dict[str, msgspec.Raw]):
    """The fields of a row that are not null, by name, not decoded yet."""

    def text(self, name: str) -> str:
        """A text; empty where the row has no such field.

        Raises RowError: the field holds something else.
        """
        raw = self.get(name)
        if raw is None:
            return ""
        try:
            return _text(raw)
        except msgspec.ValidationError:
            raise wrong_type(name, self.value(name), "text") from None
        except _UNREADABLE:
            raise _unreadable(name, raw) from None

    def value(self, name: str) -> Any:
        """A field of any type; None where the row has no such field.

        Raises RowError: the field is JSON that no text or number can be.
        """
        raw = self.get(name)
        try:
            return None if raw is None else _value(raw)
        except _UNREADABLE:
            raise _unreadable(name, raw or NULL) from None

    def opened(self, name: str) -> Any:
        """Like `value`; a text that is JSON itself is opened, as a cell of a table holds it."""
        found = self.value(name)
        if isinstance(found, str) and found.lstrip().startswith(("[", "{")):
            try:
                return _value(found)
            except msgspec.MsgspecError:
                return found
        return found

    def series(self, name: str) -> tuple[tuple[float, ...], ...]:
        """A list of series; empty where the row has no such field.

        Raises RowError: a value is no usable number, or the series are no flat lists.
        """
        raw = self.get(name)
        if raw is None:
            return ()
        try:
            return _series(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            found = self.opened(name)
        try:
            return msgspec.convert(found, Series)
        except msgspec.ValidationError:
            raise _series_error(name, found) from None

    def holds(self, name: str) -> bool:
        """Whether a field is there and neither empty nor null."""
        return name in self and bytes(self[name]) not in NOTHING


def _unreadable(name: str, raw: msgspec.Raw) -> RowError:
    """Why JSON cannot be read as a value."""
    try:
        found = json.loads(bytes(raw))
        json.dumps(found, ensure_ascii=False).encode()
        what = "a number out of range"
    except UnicodeDecodeError:
        return RowError(f"field {named(name)} is not UTF-8", Fault.NOT_UTF8)
    except UnicodeEncodeError:
        what = "half a character (a lone surrogate)"
    except (ValueError, RecursionError):
        what = "values nested too deep"
    return RowError(f"field {named(name)} holds {what}", Fault.WRONG_TYPE)


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "text"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, list):
        return "a list"
    if len(value) == 1:
        return f"an object with {named(next(iter(value)))}"
    return "an object"


def wrong_type(name: str, value: Any, wanted: str) -> RowError:
    """The error for a field that holds something else than it should."""
    return RowError(f"field {named(name)} is {kind_of(value)}, not {wanted}", Fault.WRONG_TYPE)


def listed(names: Iterable[str], most: int = 6) -> str:
    """Names of fields for a sentence, without what could disturb a screen."""
    every = [named(name)[1:-1] for name in names]
    more = len(every) - most
    return ", ".join(every[:most]) + (f" and {more} more" if more > 0 else "")


def _series_error(name: str, found: Any) -> RowError:
    """Which value of a list of series is no usable number."""
    if not isinstance(found, list):
        return wrong_type(name, found, "a list of series")
    for number, series in enumerate(found, start=1):
        if not isinstance(series, list):
            reason = f"series {number} is {kind_of(series)}, not a list of numbers"
            return RowError(reason, Fault.RAGGED)
        for point, value in enumerate(series, start=1):
            if isinstance(value, list | dict):
                reason = f"series {number} holds {kind_of(value)} at point {point}"
                return RowError(reason, Fault.RAGGED)
            usable = isinstance(value, int | float) and not isinstance(value, bool)
            if not usable or abs(value) > LARGEST_VALUE:
                shown = "null" if value is None else f"{value!r:.40}"
                return RowError(
                    f"series {number} holds {shown} at point {point}, which is not a usable number",
                    Fault.NOT_A_NUMBER,
                )
    return wrong_type(name, found, "a list of series")
