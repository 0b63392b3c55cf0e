"""Counts of row lengths: of a whole file, or of spans of a file whose counts add up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from memory_models.architecture import TimeSeriesEncoder
from memory_models.frozen import frozen
from tsplanner.datasets.files.records import RawRow, Span
from tsplanner.datasets.lengths.tokens import TokenCounter, estimated_counter, tokenizer_counter
from tsplanner.datasets.records import DataSource, DroppedRow, Fault, LossOn
from tsplanner.datasets.rendering.choice import renderer
from tsplanner.datasets.rendering.pieces import joined
from tsplanner.datasets.rows.fields import RowError
from tsplanner.datasets.rows.parsing import RowParser
from tsplanner.datasets.rows.readers import raw_dataset
from tsplanner.datasets.rows.remarks import Remarks
from tsplanner.datasets.series_encoding import series_positions

PAD_MULTIPLE = 8
"""Text of a batch is padded to a multiple of this many tokens."""

_ROWS_TOGETHER = 64
"""Rows whose texts are tokenised in one call; their series are freed before that."""


def padded_tokens(tokens: int) -> int:
    """The next multiple of 8 tokens."""
    return -(-tokens // PAD_MULTIPLE) * PAD_MULTIPLE


@frozen
class ScanJob:
    """What a scan counts, in plain values that can be sent to a worker process."""

    source: DataSource
    cutoff_len: int
    encoder: TimeSeriesEncoder | None
    tokenizer_folder: str | None
    loss_on: str = LossOn.ASSISTANT


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
    dropped: list[DroppedRow] = field(default_factory=list)

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

        Dropped rows are not added: the scan renumbers their lines and hands them to the drop log.
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

    @property
    def rows(self) -> int:
        """Number of rows that were counted."""
        return sum(self.lengths.values())


def _add(counts: dict[int, int], length: int, rows: int) -> None:
    counts[length] = counts.get(length, 0) + rows


class RowCounter:
    """Counts rows of one dataset for one model and cutoff."""

    def __init__(self, job: ScanJob) -> None:
        """Raises TsplannerError: tokenizer.json is damaged."""
        self.job = job
        folder = Path(job.tokenizer_folder) if job.tokenizer_folder else None
        found = tokenizer_counter(folder)
        self.counted_by = "estimate" if found is None else "tokenizer"
        self._tokens: TokenCounter = found or estimated_counter
        self._parser = RowParser(
            job.encoder, dict(job.source.columns), text_only=job.encoder is None
        )
        self.raw = raw_dataset(job.source)
        self._renderer = renderer(
            folder, has_encoder=job.encoder is not None, loss_on=LossOn(job.loss_on)
        )

    def span(self, span: Span) -> Tally:
        """Count the rows of a span, whose lines are numbered within the span."""
        rows = self.raw.span_rows(span)
        tally = self.rows(rows)
        tally.lines = rows.lines
        return tally

    def rows(self, raws: Iterable[RawRow]) -> Tally:
        """Count any rows."""
        tally = Tally()
        iterator = iter(raws)
        while read := [self._read(raw) for raw in islice(iterator, _ROWS_TOGETHER)]:
            kept = [row for row in read if isinstance(row, _Texts)]
            tally.dropped.extend(row for row in read if isinstance(row, DroppedRow))
            for row, tokens in zip(kept, self._text_tokens(kept), strict=True):
                self._count(tally, row, tokens)
        # A row over the cutoff is known only after its group is tokenised, so it comes behind bad
        # rows of later lines; the log of drops relies on the order of the file.
        tally.dropped.sort(key=lambda row: row.line)
        tally.remarks = self._parser.taken_remarks()
        return tally

    def _read(self, raw: RawRow) -> _Texts | DroppedRow:
        """The texts of a row without its series, which take most of the memory."""
        row, encoder = self._parser.parsed(raw), self.job.encoder
        if isinstance(row, DroppedRow):
            return row
        try:
            text = joined(self._renderer.pieces(row))
        except RowError as error:
            return DroppedRow(line=row.line, fault=error.fault, reason=str(error), file=row.file)
        extra = 0 if encoder is None else series_positions(row, encoder)
        return _Texts(
            row.line,
            row.file,
            text,
            self._renderer.unknown_tokens,
            extra,
            0 if encoder is None else len(row.timeseries),
        )

    def _text_tokens(self, rows: list[_Texts]) -> Iterator[int]:
        """Text tokens of each row."""
        for row, tokens in zip(rows, self._tokens([row.text for row in rows]), strict=True):
            yield tokens + row.template

    def _count(self, tally: Tally, row: _Texts, tokens: int) -> None:
        """Count a row, or drop it, since the text of a series cannot be cut."""
        cutoff = self.job.cutoff_len
        if tokens > cutoff and row.series:
            reason = f"{tokens} tokens of text, more than cutoff_len {cutoff}"
            fault = Fault.OVER_CUTOFF
            tally.dropped.append(
                DroppedRow(line=row.line, fault=fault, reason=reason, file=row.file)
            )
            return
        tally.count(min(tokens, cutoff), row.extra, row.series)


@dataclass(slots=True)
class _Texts:
    """A row without its series."""

    line: int
    file: int
    text: str
    template: int
    """Tokens of a template that is not known."""
    extra: int
    series: int
