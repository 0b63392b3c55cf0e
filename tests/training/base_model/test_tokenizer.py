"""The tokenizer of a model: its padding and its chat template."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import tiny
from tsplanner.errors import TsplannerError
from tsplanner.training.base_model.tokenizer import load_tokenizer


def test_a_tokenizer_pads_with_its_end_where_it_has_no_padding(tmp_path: Path) -> None:
    """Without a folder there is none, and a folder without one is named."""
    plan = tiny.plan(tmp_path)
    found = load_tokenizer(plan.model)
    assert found.pad_token == "<pad>"
    assert load_tokenizer(replace(plan.model, path=None)) is None
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(TsplannerError, match=r"No tokenizer could be read from .*empty: put"):
        load_tokenizer(replace(plan.model, tokenizer=str(empty)))


def test_a_template_that_only_the_processor_reads_is_the_tokenizers_too(tmp_path: Path) -> None:
    """Older folders of models that see keep it in chat_template.json."""
    ref = tiny.plan(tmp_path).model
    tokenizer = load_tokenizer(ref)
    assert tokenizer is not None
    assert not tokenizer.chat_template
    told = {"chat_template": "{{ messages[0].content }}"}
    (Path(str(ref.path)) / "chat_template.json").write_text(json.dumps(told))
    assert load_tokenizer(ref).chat_template == told["chat_template"]  # type: ignore[union-attr]
