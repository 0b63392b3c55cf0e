"""What a reader noticed in rows that it could read: forms, fields that it did not read, guesses."""

from __future__ import annotations

from dataclasses import dataclass, field

from tsplanner.datasets.records import Noticed, Remark


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
        of_kind = self.found.setdefault(kind, {})
        if (count := of_kind.get(text)) is None:
            of_kind[text] = Count(1, line, file)
        else:
            count.rows += 1

    def add(self, other: Remarks, lines_before: int = 0) -> None:
        """Add the remarks of the next span, before which the file has so many lines."""
        for kind, texts in other.found.items():
            of_kind = self.found.setdefault(kind, {})
            for text, count in texts.items():
                if (mine := of_kind.get(text)) is None:
                    line = count.first_line + lines_before
                    of_kind[text] = Count(count.rows, line, count.file)
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
