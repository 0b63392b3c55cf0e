"""The tokenizer beside trained weights is the base's own, with the template of the rows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import tiny
from tsplanner.datasets.rendering.choice import template_beside
from tsplanner.datasets.rendering.fixed import CHATTS_TEMPLATE, PLAIN_TEMPLATE
from tsplanner.training.solo.tokenizer_files import copy_tokenizer


def test_files_are_copied_as_they_are(tmp_path: Path) -> None:
    """Of a base without a template the headings that its rows were written in."""
    plan, folder = tiny.plan(tmp_path), tmp_path / "adapter"
    folder.mkdir()
    copy_tokenizer(plan, folder)
    source = Path(str(plan.model.path))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (folder / name).read_bytes() == (source / name).read_bytes()
    assert (folder / "chat_template.jinja").read_text() == PLAIN_TEMPLATE
    assert not (folder / "model.safetensors").exists()
    assert not (folder / "config.json").exists()


def test_a_tokenizer_that_was_named_goes_before_the_models(tmp_path: Path) -> None:
    """With all its templates, and no other beside them."""
    plan, folder, other = tiny.plan(tmp_path), tmp_path / "adapter", tmp_path / "other"
    folder.mkdir()
    (other / "additional_chat_templates").mkdir(parents=True)
    (other / "tokenizer.json").write_text("{}")
    (other / "chat_template.jinja").write_text("default")
    (other / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    copy_tokenizer(replace(plan, model=replace(plan.model, tokenizer=str(other))), folder)
    assert (folder / "tokenizer.json").read_text() == "{}"
    assert (folder / "chat_template.jinja").read_text() == "default"
    assert (folder / "additional_chat_templates" / "tool_use.jinja").read_text() == "tools"


def test_a_plan_without_a_folder_leaves_nothing(tmp_path: Path) -> None:
    """A bare preset has no tokenizer, and its folder may be gone."""
    plan, folder = tiny.plan(tmp_path), tmp_path / "adapter"
    folder.mkdir()
    for path in (None, str(tmp_path / "gone")):
        copy_tokenizer(replace(plan, model=replace(plan.model, path=path)), folder)
    assert list(folder.iterdir()) == []


def test_the_template_beside_begins_and_ends_as_the_rows_did(tmp_path: Path) -> None:
    """A tokenizer that begins every text with a token gets it in its template, too."""
    (tmp_path / "tokenizer.json").write_text("{}")
    assert template_beside(tmp_path, has_encoder=False) == PLAIN_TEMPLATE
    assert template_beside(tmp_path, has_encoder=True) == CHATTS_TEMPLATE
    begins = {"bos_token": "<s>", "add_bos_token": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(begins))
    text = template_beside(tmp_path, has_encoder=False)
    assert text == "{{- bos_token }}\n" + PLAIN_TEMPLATE
    jinja2 = pytest.importorskip("jinja2")
    asked = [{"role": "user", "content": "Why?"}]
    made = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(text)
    shown = made.render(messages=asked, bos_token="<s>", add_generation_prompt=True)
    assert shown == "<s>### Question:\nWhy?\n\n### Answer:\n"


def test_a_template_of_ones_own_or_no_tokenizer_needs_none(tmp_path: Path) -> None:
    """Then there is nothing to add."""
    assert template_beside(tmp_path, has_encoder=False) is None
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "chat_template.jinja").write_text("own")
    assert template_beside(tmp_path, has_encoder=True) is None
