"""Who reads the rows of a dataset: a model with its template and tokenizer, or nobody yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from memory_models.architecture import TimeSeriesEncoder
from memory_models.frozen import frozen
from tsplanner.datasets.records import Conversation, DataSource, DroppedRow, LossOn, OnBad
from tsplanner.datasets.rendering.choice import renderer
from tsplanner.datasets.rows.readers import read_rows
from tsplanner.datasets.shown import RowViewer, library_encode
from tsplanner.errors import UsageError

CHATTS_ENCODER = TimeSeriesEncoder(patch_size=8, num_layers=5, hidden_size=1)
"""Stands for the encoder of a ChatTS model that was not named: it has patches of 8 points."""


@frozen
class RowReader:
    """What is known of the model that will read the rows."""

    name: str | None = None
    """None: no model was named."""
    tokenizer: Path | None = None
    """Folder of its tokenizer and template; None: there is none."""
    encoder: TimeSeriesEncoder | None = None

    def viewer(self, *, cutoff_len: int, loss_on: LossOn) -> RowViewer:
        """Shows rows as this model reads them.

        Raises TsplannerError: its tokenizer or template is damaged.
        """
        return RowViewer(
            renderer(self.tokenizer, has_encoder=self.encoder is not None, loss_on=loss_on),
            None if self.tokenizer is None else library_encode(self.tokenizer),
            cutoff_len,
        )

    def rows(self, source: DataSource, on_bad: OnBad) -> Iterator[Conversation | DroppedRow]:
        """The rows as this model takes them; see `read_rows` for what is raised."""
        text_only = self.encoder is None
        return read_rows(source, encoder=self.encoder, on_bad=on_bad, text_only=text_only)


def row_reader(model: str | None, tokenizer: Path | None, *, holds_series: bool) -> RowReader:
    """The reader that a person names; without a model the rows say whether it reads series.

    Raises UsageError: there is no such model or tokenizer. TsplannerError: its config is broken.
    """
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
