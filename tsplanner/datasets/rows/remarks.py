"""What a reader noticed in rows that it could read: forms, fields that it did not read, guesses."""

from __future__ import annotations

from dataclasses import dataclass, field

from tsplanner.datasets.records import Noticed, Remark

MOST_TEXTS = 256
"""Texts of one kind that are counted apart. Where names of fields are data of their own, such as
ids, a plan would otherwise grow with the rows."""
OTHERS = "others"
"""Stands for all further texts of a kind."""


@dataclass(slots=True)
class Count:
    """Rows with one remark."""

    rows: int
    first_line: int
    """Line of the first of them, numbered as in the span that was read."""
    file: int = 0


@dataclass(slots=True)
class Remarks:
    """Counts of remarks by kind and text."""

    found: dict[str, dict[str, Count]] = field(default_factory=dict)

    def note(self, kind: Noticed, text: str, line: int, file: int = 0) -> None:
        """Note a remark on the row that starts at a line."""
        found = self.found.get(kind)
        if found is not None and (count := found.get(text)) is not None:
            count.rows += 1
        else:
            self._add(kind, text, Count(1, line, file))

    def add(self, other: Remarks, lines_before: int = 0) -> None:
        """Add the remarks of the next span, before which the file has so many lines."""
        for kind, texts in other.found.items():
            for text, count in texts.items():
                line = count.first_line + lines_before
                self._add(kind, text, Count(count.rows, line, count.file))

    def _add(self, kind: str, text: str, count: Count) -> None:
        of_kind = self.found.setdefault(kind, {})
        if text not in of_kind and len(of_kind) >= MOST_TEXTS:
            text = OTHERS
        if (mine := of_kind.get(text)) is None:
            of_kind[text] = count
        else:
            mine.rows += count.rows

    def records(self) -> tuple[Remark, ...]:
        """All remarks: by kind in the order of `Noticed`, the most frequent first."""
        return tuple(
            Remark(
                kind=kind,
                text=text,
                rows=count.rows,
                first_line=count.first_line,
                file=count.file,
            )
            for kind in Noticed
            for text, count in sorted(
                self.found.get(kind, {}).items(), key=lambda item: -item[1].rows
            )
        )
