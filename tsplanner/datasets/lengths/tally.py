"""Counts of row lengths: of a whole file, or of spans of a file whose counts add up."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field

from tsplanner.datasets.files.records import RawRow, Span
from tsplanner.datasets.records import DroppedRow, Noticed
from tsplanner.datasets.rows.remarks import Remarks
from tsplanner.datasets.tokens.reading import KeptRow, RowReader

PAD_MULTIPLE = 8
"""Text of a batch is padded to a multiple of this many tokens."""


def padded_tokens(tokens: int) -> int:
    """The next multiple of 8 tokens."""
    return -(-tokens // PAD_MULTIPLE) * PAD_MULTIPLE


@dataclass(slots=True)
class NotedRow:
    """A row that is trained on, and what a person may want to know of it."""

    line: int
    kind: Noticed
    reason: str
    file: int = 0


@dataclass(slots=True)
class RowSums:
    """Sums over all kept rows, and the longest that was cut."""

    learned: int = 0
    """Tokens that carry loss."""
    turns: int = 0
    whole_most: int = 0
    """Text tokens of the longest row that was cut, before the cut."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """Number of rows by length; the keys are tokens or decoder positions."""

    lines: int = 0
    remarks: Remarks = field(default_factory=Remarks)
    texts: dict[int, int] = field(default_factory=dict)
    lengths: dict[int, int] = field(default_factory=dict)
    padded: dict[int, int] = field(default_factory=dict)
    series_total: int = 0
    """Positions that series add to the text, summed over all rows."""
    series_most: int = 0
    patches_most: int = 0
    sums: RowSums = field(default_factory=RowSums)
    digests: bytes = b""
    """Pairs of line and digest of all kept rows, as int64."""
    dropped: list[DroppedRow] = field(default_factory=list)
    noted: list[NotedRow] = field(default_factory=list)

    def count(self, tokens: int, extra: int, series: int = 0) -> None:
        """Count a row: its text tokens, the positions its series add, and its number of series."""
        _add(self.texts, tokens, 1)
        _add(self.lengths, tokens + extra, 1)
        _add(self.padded, padded_tokens(tokens) + extra, 1)
        self.series_total += extra
        self.series_most = max(self.series_most, extra)
        # ``extra`` lacks two positions per series, because the patches take the place of two marks.
        self.patches_most = max(self.patches_most, extra + 2 * series)

    def add(self, other: Tally, lines_before: int = 0) -> None:
        """Add the counts of the next span, before which its file has so many lines.

        Lists of single rows are not added: the scan renumbers their lines and logs them.
        """
        for mine, found in (
            (self.texts, other.texts),
            (self.lengths, other.lengths),
            (self.padded, other.padded),
        ):
            for length, rows in found.items():
                _add(mine, length, rows)
        self.remarks.add(other.remarks, lines_before)
        self.lines += other.lines
        self.series_total += other.series_total
        self.series_most = max(self.series_most, other.series_most)
        self.patches_most = max(self.patches_most, other.patches_most)
        self.sums.whole_most = max(self.sums.whole_most, other.sums.whole_most)
        self.sums.learned += other.sums.learned
        self.sums.turns += other.sums.turns

    @property
    def rows(self) -> int:
        """Number of rows that were counted."""
        return sum(self.lengths.values())


def _add(counts: dict[int, int], length: int, rows: int) -> None:
    counts[length] = counts.get(length, 0) + rows


class RowCounter:
    """Counts rows of one dataset for one model and cutoff."""

    def __init__(self, reader: RowReader) -> None:
        self.reader = reader

    def span(self, span: Span) -> Tally:
        """Count the rows of a span, whose lines are numbered within the span."""
        rows = self.reader.raw.span_rows(span)
        tally = self.rows(rows)
        tally.lines = rows.lines
        return tally

    def rows(self, raws: Iterable[RawRow]) -> Tally:
        """Count any rows."""
        tally, digests = Tally(), array("q")
        has_encoder = self.reader.job.encoder is not None
        for row in self.reader.rows(raws):
            if isinstance(row, DroppedRow):
                tally.dropped.append(row)
                continue
            series = len(row.row.timeseries) if has_encoder else 0
            tally.count(row.text_tokens, row.extra, series)
            tally.sums.learned += row.tokens.learned_tokens
            tally.sums.turns += len(row.row.turns)
            tally.sums.whole_most = max(tally.sums.whole_most, row.whole)
            digests.extend((row.row.line, row.digest))
            if row.cut or row.bare or row.special:
                _note(tally, row)
        tally.digests = digests.tobytes()
        tally.remarks = self.reader.taken_remarks()
        return tally


def _note(tally: Tally, row: KeptRow) -> None:
    for kind, reason in (
        (Noticed.CUT, row.cut),
        (Noticed.BARE, str(Noticed.BARE) * row.bare),
        (Noticed.SPECIAL, f"special token {row.special} inside a turn" * bool(row.special)),
    ):
        if reason:
            found = NotedRow(line=row.row.line, kind=kind, reason=reason, file=row.row.file)
            tally.noted.append(found)
