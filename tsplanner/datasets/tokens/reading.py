"""From raw rows to the token rows that are trained on, or to the reasons why rows are not.

A plan counts these rows and a token store keeps them, so both speak of the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from memory_models.architecture import TimeSeriesEncoder
from memory_models.frozen import frozen
from tsplanner.datasets.files.records import RawRow
from tsplanner.datasets.records import (
    Conversation,
    DataSource,
    DroppedRow,
    Fault,
    LossOn,
    Role,
)
from tsplanner.datasets.rendering.choice import renderer
from tsplanner.datasets.rows.fields import RowError
from tsplanner.datasets.rows.parsing import RowParser
from tsplanner.datasets.rows.readers import raw_dataset
from tsplanner.datasets.rows.remarks import Remarks
from tsplanner.datasets.series_encoding import series_positions
from tsplanner.datasets.tokens.rows import TokenRow, cut
from tsplanner.datasets.tokens.tokenizer import Pieces, Tokenizer, tokenizer_of

GROUP_CHARACTERS = 1 << 17
"""Characters of rows that are tokenised in one call."""
GROUP_ROWS = 1024


@frozen
class ReadJob:
    """Which rows are read, and for which model."""

    source: DataSource
    cutoff_len: int
    encoder: TimeSeriesEncoder | None
    tokenizer_folder: str | None
    loss_on: str = LossOn.ASSISTANT


@dataclass(slots=True)
class KeptRow:
    """A row that is trained on."""

    line: int
    file: int
    tokens: TokenRow
    """What is left of the row after the cut."""
    text_tokens: int
    """Text tokens before the cut, with those of a template that is not known."""
    answers: int
    """Stretches with loss before the cut."""
    series: tuple[tuple[float, ...], ...]
    extra: int
    """Positions that the series add to the text."""
    digest: int
    """Equal for rows with the same text and series."""
    bare: bool
    """An answer has neither a letter nor a digit."""

    @property
    def is_cut(self) -> bool:
        """Whether some of the row was cut off."""
        return len(self.tokens.ids) < self.text_tokens


@dataclass(slots=True)
class _Rendered:
    """A row with its pieces of text."""

    row: Conversation
    pieces: Pieces
    characters: int


class RowReader:
    """Reads the rows of one dataset for one model and cutoff."""

    def __init__(self, job: ReadJob, *, by_words: bool, tokenizer: Tokenizer | None = None) -> None:
        """``by_words``: many rows are to come; ``tokenizer`` None: that of the job's folder.

        Raises TsplannerError: tokenizer.json is damaged, or a file is missing.
        """
        self.job = job
        folder = Path(job.tokenizer_folder) if job.tokenizer_folder else None
        self._tokenizer = tokenizer or tokenizer_of(folder, by_words=by_words)
        self.counted_by = self._tokenizer.counted_by
        self.raw = raw_dataset(job.source)
        self._parser = RowParser(
            job.encoder, dict(job.source.columns), text_only=job.encoder is None
        )
        self._renderer = renderer(
            folder, has_encoder=job.encoder is not None, loss_on=LossOn(job.loss_on)
        )

    def rows(self, raws: Iterable[RawRow]) -> Iterator[KeptRow | DroppedRow]:
        """The rows in file order."""
        group: list[_Rendered | DroppedRow] = []
        characters = 0
        for raw in raws:
            row = self._rendered(raw)
            group.append(row)
            if isinstance(row, _Rendered):
                characters += row.characters
            if characters > GROUP_CHARACTERS or len(group) >= GROUP_ROWS:
                yield from self._tokenised(group)
                group, characters = [], 0
        yield from self._tokenised(group)

    def taken_remarks(self) -> Remarks:
        """What was noticed in the rows since this was last asked."""
        return self._parser.taken_remarks()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the renderer had to guess, a sentence each."""
        return self._renderer.notes

    def _rendered(self, raw: RawRow) -> _Rendered | DroppedRow:
        row = self._parser.parsed(raw)
        if isinstance(row, DroppedRow):
            return row
        try:
            pieces = self._renderer.pieces(row)
        except RowError as error:
            return DroppedRow(line=row.line, fault=error.fault, reason=str(error), file=row.file)
        return _Rendered(row, pieces, sum([len(piece.text) for piece in pieces]))

    def _tokenised(self, group: list[_Rendered | DroppedRow]) -> Iterator[KeptRow | DroppedRow]:
        rendered = [row.pieces for row in group if isinstance(row, _Rendered)]
        tokens = iter(self._tokenizer.rows(rendered))
        for row in group:
            yield row if isinstance(row, DroppedRow) else self._kept(row, next(tokens))

    def _kept(self, rendered: _Rendered, tokens: TokenRow) -> KeptRow | DroppedRow:
        """The row, cut where it is too long; the text of a series cannot be cut."""
        row, cutoff = rendered.row, self.job.cutoff_len
        whole = len(tokens.ids) + self._renderer.unknown_tokens
        encoder = self.job.encoder
        if whole > cutoff and encoder is not None and row.timeseries:
            reason = f"{whole} tokens of text, more than cutoff_len {cutoff}"
            return _dropped(row, Fault.OVER_CUTOFF, reason)
        left = tokens if whole <= cutoff else cut(tokens, cutoff)
        if not left.learned:
            reason = (
                "no token is left that carries loss"
                if tokens.learned
                else "no token carries loss: every answer is left out of the loss"
            )
            return _dropped(row, Fault.NOTHING_LEARNED, reason)
        return KeptRow(
            line=row.line,
            file=row.file,
            tokens=left,
            text_tokens=whole,
            answers=len(tokens.learned),
            series=row.timeseries,
            extra=0 if encoder is None else series_positions(row, encoder),
            digest=hash((tuple([piece.text for piece in rendered.pieces]), row.timeseries)),
            bare=any(
                turn.role is Role.ASSISTANT and _is_bare(turn.content) and not turn.tool_calls
                for turn in row.turns
            ),
        )


def _is_bare(text: str) -> bool:
    """Whether a text has neither a letter nor a digit."""
    return not any(map(str.isalnum, text))


def _dropped(row: Conversation, fault: Fault, reason: str) -> DroppedRow:
    return DroppedRow(line=row.line, fault=fault, reason=reason, file=row.file)
