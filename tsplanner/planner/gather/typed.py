"""Values that a person wrote in a file, checked against the types of a record's fields."""

from __future__ import annotations

import types
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Any, Union, get_args, get_origin

from memory_models.settings import ALL_LINEAR, field_types
from memory_models.settings.flat import of_today
from tsplanner.errors import UsageError, did_you_mean, named, quoted

LARGEST = 10**12
"""Largest number that is read: above every number of a real run, and products stay finite."""
TYPE_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}


def typed_values(kind: type, given: Mapping[str, object]) -> dict[str, Any]:
    """The values of some fields of a composed record, each in the type of its field.

    Raises:
        UsageError: a field is unknown or its value has another type; the first is named.
    """
    known = field_types(kind)
    found = {}
    for key, value in given.items():
        name, own = (key, value) if key in known else of_today(key, value)
        if name not in known:
            raise UsageError(f"unknown key {named(key)}.{did_you_mean(key[:80], known)}")
        found[name] = typed_value(key, known[name], own)
    return found


def typed_value(key: str, kind: Any, value: object) -> Any:
    """``value`` as a value of the type ``kind``.

    Raises:
        UsageError: the value has another type, or is too large.
    """
    if key == "lora_target" and isinstance(value, str) and value != ALL_LINEAR:
        value = [value]
    if key.endswith("_pattern") and isinstance(value, Mapping):
        value = list(value.items())
    try:
        found = _converted(kind, value)
    except ValueError:
        raise UsageError(_refusal(key, kind, value)) from None
    if key == "lora_target" and not found:
        raise UsageError(_refusal(key, kind, value))
    if isinstance(found, int) and not isinstance(found, bool) and abs(found) > LARGEST:
        raise UsageError(f"{key} must be at most {LARGEST}")
    return found


def _converted(kind: Any, value: object) -> Any:
    """``value`` in the type of a field: one type, an enum of words, a tuple, or a choice of these.

    The types of settings are few, and without a library for more the same code runs in a browser.
    Raises ValueError: the value has another type.
    """
    if (origin := get_origin(kind)) in (Union, types.UnionType):
        for member in get_args(kind):
            with suppress(ValueError):
                return _converted(member, value)
    elif origin is tuple and isinstance(value, list | tuple):
        inner = get_args(kind)
        each = inner[:1] * len(value) if inner[1:] == (Ellipsis,) else inner
        return tuple(_converted(*pair) for pair in zip(each, value, strict=True))
    elif kind is float and type(value) in (int, float):
        return float(value)  # type: ignore[arg-type]
    elif isinstance(kind, type) and type(value) is kind:
        return value
    elif isinstance(kind, type) and issubclass(kind, StrEnum) and isinstance(value, str):
        return kind(value)
    raise ValueError("another type")


def _refusal(key: str, kind: Any, value: object) -> str:
    """The sentence that refuses a value: the key, what it takes and what was given."""
    wanted = members(kind)
    if value is None:
        return f"{key} must not be null; leave it out for the default"
    for member in wanted:
        if isinstance(member, type) and issubclass(member, StrEnum):
            names = [str(each) for each in member]
            hint = did_you_mean(value, names) if isinstance(value, str) else ""
            return f"{key} must be one of {', '.join(names)}, not {quoted(value)}.{hint}"
    if key == "lora_target":
        return f"lora_target must be a list of module names or {ALL_LINEAR}, not {quoted(value)}"
    words = TYPE_WORDS.get(wanted[0], "a string")
    if any(get_origin(member) is tuple for member in wanted[1:]):
        words += " or a list of them"
    return f"{key} must be {words}, not {quoted(value)}"


def members(kind: Any) -> tuple[Any, ...]:
    """The types that a field takes, without None."""
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(member for member in get_args(kind) if member is not type(None))
    return (kind,)
