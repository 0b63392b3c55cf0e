"""Questions and answers with named fields: ``Peak: point {flow_max_at}.``

The form is that of ``str.format`` without what could run or reach anything: a field is one of the
names that are given, and nothing of an object can be looked up through it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from string import Formatter
from typing import TypeAlias

from memory_models.frozen import frozen
from tsplanner.errors import UsageError, did_you_mean, named

Value: TypeAlias = str | int | float
_FORMAT = re.compile(r"\.\d{1,2}[fge%]|d|")
"""Formats of numbers that are taken: a number of decimals or digits. A width could be of
gigabytes."""


@frozen
class Part:
    """A stretch of a template: text, and the field behind it."""

    text: str
    name: str | None = None
    format: str = ""


@frozen
class Template:
    """A text with fields."""

    parts: tuple[Part, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The fields in their order."""
        return tuple(part.name for part in self.parts if part.name is not None)

    def filled(self, values: Mapping[str, Value]) -> str:
        """The text with a value for each field."""
        return "".join(
            part.text + ("" if part.name is None else written(values[part.name], part.format))
            for part in self.parts
        )


def template(text: str, known: Collection[str], flag: str) -> Template:
    """A template whose fields are all known.

    Raises UsageError: a brace is left open, or a field or its format is none of those known; says
    which flag has it.
    """
    try:
        parts = [
            Part(text=before, name=name, format=form or "")
            for before, name, form, conversion in _parsed(text)
        ]
    except ValueError as error:
        raise UsageError(f"{flag} is no template: {error}; write a brace itself as {{{{.") from None
    for part in parts:
        if part.name is not None and part.name not in known:
            raise UsageError(
                f"{flag} has the field {named(part.name)}, which there is not."
                f"{did_you_mean(part.name, known)} Fields: {', '.join(known)}."
            )
        if not _FORMAT.fullmatch(part.format):
            raise UsageError(
                f"{flag} has the format {named(part.format)}: only decimals such as .2f are taken."
            )
    return Template(parts=tuple(parts))


def _parsed(text: str) -> list[tuple[str, str | None, str | None, None]]:
    """Raises ValueError: the text is no template."""
    found = []
    for before, name, form, conversion in Formatter().parse(text):
        if conversion is not None:
            raise ValueError(f'"!{conversion}" is not taken')
        found.append((before, name, form, None))
    return found


def written(value: Value, form: str = "") -> str:
    """A value as text: six digits of a number, if no format says otherwise."""
    if isinstance(value, str):
        return value
    if form == "d":
        return str(round(value))
    if form:
        return format(value, form)
    if float(value).is_integer() and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.6g}"
