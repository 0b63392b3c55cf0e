"""From raw rows to the token rows that are trained on, or to the reasons why rows are not.

A plan counts these rows and a token store keeps them, so both speak of the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tsplanner.datasets.files.records import RawRow
from tsplanner.datasets.records import (
    Conversation,
    DroppedRow,
    Fault,
    LossOn,
    Noticed,
    ReadJob,
    Role,
)
from tsplanner.datasets.rendering.choice import renderer
from tsplanner.datasets.rows.fields import RowError
from tsplanner.datasets.rows.parsing import RowParser
from tsplanner.datasets.rows.readers import raw_dataset
from tsplanner.datasets.rows.remarks import Remarks
from tsplanner.datasets.series_encoding import series_positions
from tsplanner.datasets.tokens.rows import TokenRow, cut
from tsplanner.datasets.tokens.special import special_tokens
from tsplanner.datasets.tokens.tokenizer import Pieces, Tokenizer, tokenizer_of

SMALL_BYTES = 1 << 20
"""Size of a dataset up to which a table of words does not pay."""
GROUP_CHARACTERS = 1 << 18
"""Characters of rows that are tokenised in one call."""
GROUP_ROWS = 1024
GROUP_POINTS = 1 << 19
"""Values of series in the rows that are tokenised in one call."""


@dataclass(slots=True)
class KeptRow:
    """A row that is trained on."""

    row: Conversation
    tokens: TokenRow
    """What is left of the row after the cut."""
    text_tokens: int
    """Text tokens after the cut, with those of a template that is not known."""
    cut: str
    """What the cut took, in words; empty: nothing."""
    extra: int
    """Positions that the series add to the text."""
    digest: int
    """Equal for rows with the same text and series, within one run of the program."""
    bare: bool
    """An answer has neither a letter nor a digit."""
    special: str = ""
    """A special token of the tokenizer that stands inside a turn; empty: there is none."""
    whole: int = 0
    """Text tokens of a row that was cut, before the cut."""


class RowReader:
    """Reads the rows of one dataset for one model and cutoff."""

    def __init__(
        self, job: ReadJob, tokenizer: Tokenizer | None = None, *, ids: bool = True
    ) -> None:
        """``ids`` off: tokens are only counted.

        ``tokenizer`` None: that of the job's folder, by words if the dataset is not small.


        Raises TsplannerError: tokenizer.json is damaged, or a file is missing.
        """
        self.job, self._ids = job, ids
        folder = Path(job.tokenizer_folder) if job.tokenizer_folder else None
        self.raw = raw_dataset(job.source)
        self._tokenizer = tokenizer or tokenizer_of(folder, by_words=self.raw.bytes > SMALL_BYTES)
        self.counted_by = self._tokenizer.counted_by
        self._special = special_tokens(folder)
        self._parser = RowParser(
            job.encoder, dict(job.source.columns), text_only=job.encoder is None
        )
        self._renderer = renderer(
            folder, has_encoder=job.encoder is not None, loss_on=LossOn(job.loss_on)
        )

    def rows(self, raws: Iterable[RawRow]) -> Iterator[KeptRow | DroppedRow]:
        """The rows in file order."""
        group: list[tuple[Conversation, Pieces] | DroppedRow] = []
        characters = points = 0
        for raw in raws:
            found = self._rendered(raw)
            group.append(found)
            if not isinstance(found, DroppedRow):
                row, pieces = found
                characters += sum([len(piece.text) for piece in pieces])
                points += sum([len(values) for values in row.timeseries])
            full = characters > GROUP_CHARACTERS or points > GROUP_POINTS
            if full or len(group) >= GROUP_ROWS:
                yield from self._tokenised(group)
                group, characters, points = [], 0, 0
        yield from self._tokenised(group)

    def taken_remarks(self) -> Remarks:
        """What was noticed in the rows since this was last asked."""
        return self._parser.taken_remarks()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the renderer guessed or decided, a sentence each."""
        return self._renderer.notes

    def _rendered(self, raw: RawRow) -> tuple[Conversation, Pieces] | DroppedRow:
        row = self._parser.parsed(raw)
        if isinstance(row, DroppedRow):
            return row
        try:
            found = self._renderer.rendered(row)
        except RowError as error:
            return _dropped(row, error.fault, str(error))
        for unwritten in found.unwritten:
            self._parser.remarks.note(Noticed.UNWRITTEN, unwritten, row.line, row.file)
        return row, found.pieces

    def _tokenised(
        self, group: list[tuple[Conversation, Pieces] | DroppedRow]
    ) -> Iterator[KeptRow | DroppedRow]:
        rendered = [found[1] for found in group if not isinstance(found, DroppedRow)]
        tokens = iter(self._tokenizer.rows(rendered, ids=self._ids))
        for found in group:
            yield found if isinstance(found, DroppedRow) else self._kept(*found, next(tokens))

    def _kept(self, row: Conversation, pieces: Pieces, tokens: TokenRow) -> KeptRow | DroppedRow:
        """The row, cut where it is too long; the text of a series cannot be cut."""
        cutoff, encoder = self.job.cutoff_len, self.job.encoder
        whole = len(tokens.ids) + self._renderer.unknown_tokens
        left = tokens if whole <= cutoff else cut(tokens, cutoff)
        if left is not tokens and encoder is not None and row.timeseries:
            reason = f"{whole} tokens of text, more than cutoff_len {cutoff}"
            return _dropped(row, Fault.OVER_CUTOFF, reason)
        if not left.learned:
            return _dropped(row, Fault.NOTHING_LEARNED, _why_nothing(tokens))
        return KeptRow(
            row=row,
            tokens=left,
            text_tokens=min(whole, cutoff) if left is tokens else len(left.ids),
            cut="" if left is tokens else _cut_words(tokens, left),
            extra=0 if encoder is None else series_positions(row, encoder),
            digest=hash((*[piece.text for piece in pieces], row.timeseries)),
            bare=any(
                turn.role is Role.ASSISTANT and not turn.tool_calls and _is_bare(turn.content)
                for turn in row.turns
            ),
            special=self._special.inside(row),
            whole=0 if left is tokens else whole,
        )


def _is_bare(text: str) -> bool:
    """Whether a text has neither a letter nor a digit."""
    return not any(map(str.isalnum, text))


def _why_nothing(tokens: TokenRow) -> str:
    if tokens.learned:
        return "the cut at cutoff_len leaves no token that carries loss"
    return (
        "no token carries loss: the row leaves every answer out of the loss, or the template does "
        "not write it"
    )


def _cut_words(tokens: TokenRow, left: TokenRow) -> str:
    """What is left of a row that was cut."""
    words = f"{len(tokens.ids)} tokens cut to {len(left.ids)}"
    answers, kept = len(tokens.learned), len(left.learned)
    if left.learned_tokens < sum(end - start for start, end in tokens.learned[:kept]):
        return f"{words}, inside answer {kept} of {answers}"
    return f"{words}, {kept} of {answers} answers left"


def _dropped(row: Conversation, fault: Fault, reason: str) -> DroppedRow:
    return DroppedRow(line=row.line, fault=fault, reason=reason, file=row.file)
