"""Texts that ``datasets`` would read as times.

Its reader of JSON asks Arrow for the type of every field, block by block. Arrow makes times of a
field whose strings all look like ISO dates, and a chat template then prints the word datetime
(findings/date_answers_become_datetime.sh).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tsplanner.errors import TsplannerError

DATE = re.compile(r"\s*\d{4}-\d{1,2}-\d{1,2}(?:[T ].*)?\s*", re.DOTALL)
BLOCK_BYTES = 2**20
"""Bytes of rows that are looked at together; ``datasets`` reads ten times as many at once."""


class Mistyped:
    """Looks for fields whose strings all are dates in some stretch of the file."""

    def __init__(self) -> None:
        self._bytes = 0
        self._dates: dict[str, set[int]] = {}
        self._texts: dict[str, set[int]] = {}

    def see(self, row: dict[str, object], size: int) -> None:
        """Look at the strings of a row that takes ``size`` bytes."""
        block = self._bytes // BLOCK_BYTES
        self._bytes += size
        for field, text in strings(row, ""):
            found = self._dates if DATE.fullmatch(text) else self._texts
            found.setdefault(field, set()).add(block)

    def refuse(self) -> None:
        """Raise TsplannerError if a field would be taken for times."""
        for field, blocks in self._dates.items():
            if blocks - self._texts.get(field, set()):
                raise TsplannerError(
                    f"Every text in the field {field} of the exported rows is a date, which other "
                    "trainers' reader of JSON takes for times: export with --rows tokens."
                )


def strings(value: object, field: str) -> Iterator[tuple[str, str]]:
    """Every string of a row, with the field that Arrow would put it in."""
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from strings(inner, f"{field}.{name}" if field else name)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from strings(inner, field)
