"""Every model has one renderer."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.templates import CHATML
from tsplanner.datasets.rendering.choice import renderer
from tsplanner.datasets.rendering.fixed import BareRenderer, ChatTSRenderer, PlainRenderer
from tsplanner.datasets.rendering.template import TemplateRenderer


def test_a_model_that_reads_series_has_the_template_of_chatts(tmp_path: Path) -> None:
    """Whatever its folder holds."""
    (tmp_path / "chat_template.jinja").write_text("x")
    assert isinstance(renderer(tmp_path, has_encoder=True), ChatTSRenderer)


def test_a_text_model_has_its_tokenizers_template_or_headings(tmp_path: Path) -> None:
    """A base model has none; without a folder nothing is known."""
    assert isinstance(renderer(None, has_encoder=False), BareRenderer)
    assert isinstance(renderer(tmp_path, has_encoder=False), PlainRenderer)
    config = {"chat_template": CHATML}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert isinstance(renderer(tmp_path, has_encoder=False), TemplateRenderer)
