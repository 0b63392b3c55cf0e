"""Who reads the rows of a dataset."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tsplanner.commands.inputs.row_reader import CHATTS_ENCODER, ReaderAsked, row_reader
from tsplanner.datasets.records import LossOn
from tsplanner.datasets.rendering.fixed import BareRenderer, ChatTSRenderer
from tsplanner.errors import UsageError

TINY = Path("configs/models/tiny-chatts")


def test_a_preset_brings_its_encoder_and_its_tokenizer() -> None:
    """tiny-chatts has both."""
    found = row_reader(ReaderAsked(model="tiny-chatts"), holds_series=False)
    assert found.name == "tiny-chatts"
    assert found.tokenizer is not None
    assert found.encoder is not None
    shown = found.viewer(ReaderAsked(cutoff_len=64, loss_on=LossOn.LAST))
    assert isinstance(shown.renderer, ChatTSRenderer)


def test_without_a_model_the_rows_say_whether_series_are_read() -> None:
    """Rows of text are shown bare, rows with series by ChatTS's own template."""
    assert row_reader(ReaderAsked(), holds_series=True).encoder is CHATTS_ENCODER
    text = row_reader(ReaderAsked(), holds_series=False)
    assert (text.name, text.encoder, text.tokenizer) == (None, None, None)
    assert text.words == "no model"
    shown = text.viewer(ReaderAsked(cutoff_len=64))
    assert isinstance(shown.renderer, BareRenderer)


def test_a_tokenizer_may_be_another_than_the_models(tmp_path: Path) -> None:
    """And has to be one."""
    found = row_reader(ReaderAsked(model="qwen2.5-0.5b", tokenizer=TINY), holds_series=False)
    assert found.tokenizer == TINY
    with pytest.raises(UsageError, match=r"has no tokenizer\.json"):
        row_reader(ReaderAsked(tokenizer=tmp_path), holds_series=False)


def test_a_model_without_a_reader_still_reads_text(tmp_path: Path) -> None:
    """Its sizes are not needed to show rows."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "falcon"}))
    found = row_reader(ReaderAsked(model=str(tmp_path)), holds_series=False)
    assert found.encoder is None
