"""Templates of sentences, filled: a number takes its noun in the right number.

``{rows:row}`` becomes ``1 row`` or ``1,200 rows``, or ``20/40 rows`` where a text has several
numbers; every other format is Python's own.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from typing import Any

from memory_models.units import counted

NOUN = re.compile(r"[A-Za-z][A-Za-z -]{2,}")
"""A format of Python has no three letters in a row."""


class _Filler(string.Formatter):
    """Python's formats, and nouns."""

    def format_field(self, value: Any, format_spec: str) -> str:
        """A value in its format; with a noun for one, the number and the noun."""
        if NOUN.fullmatch(format_spec):
            plain = value.replace(",", "") if isinstance(value, str) else value
            if isinstance(plain, str) and not plain.isdigit():
                return f"{value} {counted(0, format_spec).partition(' ')[2]}"
            return counted(int(plain) if isinstance(plain, str) else plain, format_spec)
        return str(super().format_field(value, format_spec))


_FILLER = _Filler()


def filled(template: str, values: Mapping[str, object]) -> str:
    """The template with the values in its places.

    Raises:
        KeyError: a name of the template has no value.
    """
    return _FILLER.vformat(template, (), values)
