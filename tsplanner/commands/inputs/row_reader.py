"""Who reads the rows of a dataset: a model with its template and tokenizer, or nobody yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from memory_models.architecture import TimeSeriesEncoder
from memory_models.frozen import frozen
from tsplanner.datasets.records import Conversation, DataSource, DroppedRow, LossOn, OnBad, ReadJob
from tsplanner.datasets.rendering.choice import renderer
from tsplanner.datasets.rows.readers import read_rows
from tsplanner.datasets.shown import RowViewer
from tsplanner.datasets.tokens.library import library_tokenizer, whole_encoder
from tsplanner.errors import UsageError
from tsplanner.planner.settings import LearningSettings

CHATTS_ENCODER = TimeSeriesEncoder(patch_size=8, num_layers=5, hidden_size=1)
"""Stands for the encoder of a ChatTS model that was not named: it has patches of 8 points."""


@frozen
class ReaderAsked:
    """What a person says of the model that will read the rows."""

    model: str | None = None
    """None: no model is named, and the turns are shown as they are."""
    tokenizer: Path | None = None
    """Folder of another tokenizer than the model's own; None: the model's own."""
    cutoff_len: int = LearningSettings().data.cutoff_len
    loss_on: LossOn = LossOn.ASSISTANT


@frozen
class RowReader:
    """What is known of the model that will read the rows."""

    name: str | None = None
    """None: no model was named."""
    tokenizer: Path | None = None
    """Folder of its tokenizer and template; None: there is none."""
    encoder: TimeSeriesEncoder | None = None

    @property
    def words(self) -> str:
        """Who reads the rows, in a few words."""
        if self.name is not None:
            return f"as {self.name} reads them"
        return "no model" if self.tokenizer is None else f"by the template of {self.tokenizer}"

    def viewer(self, asked: ReaderAsked) -> RowViewer:
        """Shows rows as this model reads them.

        Raises TsplannerError: its tokenizer or template is damaged.
        """
        library = library_tokenizer(self.tokenizer)
        return RowViewer(
            renderer(self.tokenizer, has_encoder=self.encoder is not None, loss_on=asked.loss_on),
            None if library is None else whole_encoder(library),
            asked.cutoff_len,
        )

    def job(self, source: DataSource, asked: ReaderAsked) -> ReadJob:
        """What is read of a dataset for this model."""
        return ReadJob(
            source=source,
            cutoff_len=asked.cutoff_len,
            encoder=self.encoder,
            tokenizer_folder=str(self.tokenizer) if self.tokenizer else None,
            loss_on=asked.loss_on,
        )

    def rows(self, source: DataSource, on_bad: OnBad) -> Iterator[Conversation | DroppedRow]:
        """The rows as this model takes them; see `read_rows` for what is raised."""
        text_only = self.encoder is None
        return read_rows(source, encoder=self.encoder, on_bad=on_bad, text_only=text_only)


def row_reader(asked: ReaderAsked, *, holds_series: bool) -> RowReader:
    """The reader that a person names; without a model the rows say whether it reads series.

    Raises UsageError: there is no such model or tokenizer. TsplannerError: its config is broken.
    """
    model, tokenizer = asked.model, asked.tokenizer
    if tokenizer is not None and not (tokenizer / "tokenizer.json").is_file():
        raise UsageError(f"--tokenizer {tokenizer} has no tokenizer.json.")
    if model is None:
        return RowReader(tokenizer=tokenizer, encoder=CHATTS_ENCODER if holds_series else None)
    from tsplanner.models.config import NoReaderError
    from tsplanner.models.source import find_model, read_model

    files = find_model(model)
    encoder = None
    # The sizes of a model are not needed here, and only families with a reader read series.
    with suppress(NoReaderError):
        encoder = read_model(model, describes=False).architecture.encoder
    own = files.folder if (files.folder / "tokenizer.json").is_file() else None
    return RowReader(name=files.name, tokenizer=tokenizer or own, encoder=encoder)
