"""Templates and special tokens of a model's folder, as transformers finds them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tsplanner.datasets.rendering.folder import (
    TemplateTexts,
    begin_token,
    end_token,
    special_tokens,
    template_texts,
)
from tsplanner.errors import TsplannerError

ADDED = {"0": {"content": "<s>"}}


def written(folder: Path, name: str, value: object) -> None:
    """Write a JSON file."""
    (folder / name).write_text(json.dumps(value), encoding="utf-8")


def test_a_file_of_its_own_goes_before_the_configuration(tmp_path: Path) -> None:
    """And a processor's older file comes last."""
    assert template_texts(tmp_path) is None
    written(tmp_path, "chat_template.json", {"chat_template": "old"})
    assert template_texts(tmp_path) == TemplateTexts(default="old", tool_use="old")
    written(tmp_path, "tokenizer_config.json", {"chat_template": "configured"})
    assert template_texts(tmp_path) == TemplateTexts(default="configured", tool_use="configured")
    (tmp_path / "chat_template.jinja").write_text("own")
    assert template_texts(tmp_path) == TemplateTexts(default="own", tool_use="own")


def test_several_templates_have_names(tmp_path: Path) -> None:
    """One for rows with tools; one must be the default."""
    several = [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]
    written(tmp_path, "tokenizer_config.json", {"chat_template": several})
    assert template_texts(tmp_path) == TemplateTexts(default="d", tool_use="t")
    more = tmp_path / "additional_chat_templates"
    more.mkdir()
    (more / "tool_use.jinja").write_text("T")
    with pytest.raises(TsplannerError, match="tool_use and none called default"):
        template_texts(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("D")
    assert template_texts(tmp_path) == TemplateTexts(default="D", tool_use="T")


def test_special_tokens_are_texts_objects_or_named_by_the_model(tmp_path: Path) -> None:
    """A token that is null is none."""
    config = {
        "eos_token": {"content": "</s>"},
        "bos_token": None,
        "image_token": "<image>",
        "extra_special_tokens": {"audio_token": "<audio>"},
        "add_bos_token": True,
    }
    written(tmp_path, "tokenizer_config.json", config)
    tokens = {"eos_token": "</s>", "image_token": "<image>", "audio_token": "<audio>"}
    assert special_tokens(tmp_path) == tokens
    # The older file counts where no tokens are listed.
    written(tmp_path, "special_tokens_map.json", {"bos_token": "<s>"})
    assert special_tokens(tmp_path)["bos_token"] == "<s>"
    written(tmp_path, "tokenizer_config.json", {**config, "added_tokens_decoder": ADDED})
    assert "bos_token" not in special_tokens(tmp_path)


def test_the_end_token_is_found_by_its_number_where_it_has_no_name(tmp_path: Path) -> None:
    """GPT-2's tokenizer files name none; a tokenizer that says null has none."""
    assert end_token(tmp_path) == ""
    written(tmp_path, "config.json", {"eos_token_id": [50256, 1]})
    added = [{"id": 1, "content": "x"}, {"id": 50256, "content": "<|endoftext|>", "special": True}]
    written(tmp_path, "tokenizer.json", {"added_tokens": added, "model": {"vocab": {"a": 0}}})
    written(tmp_path, "tokenizer_config.json", {"model_max_length": 1024})
    assert end_token(tmp_path) == "<|endoftext|>"
    written(tmp_path, "tokenizer_config.json", {"eos_token": "</s>"})
    assert end_token(tmp_path) == "</s>"
    written(tmp_path, "tokenizer_config.json", {"eos_token": None})
    assert end_token(tmp_path) == ""


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """With the way out."""
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(TsplannerError, match=r"tokenizer_config.json cannot be read .*fetch"):
        special_tokens(tmp_path)
    written(tmp_path, "tokenizer_config.json", {})
    written(tmp_path, "tokenizer.json", {"added_tokens": 1})
    with pytest.raises(TsplannerError, match=r"tokenizer.json cannot be read"):
        end_token(tmp_path)


@pytest.mark.parametrize(
    ("config", "processor", "begin"),
    [
        ({"bos_token": "<s>", "add_bos_token": True}, None, "<s>"),
        ({"bos_token": "<s>", "add_bos_token": False}, "<s>", ""),
        ({"bos_token": "<s>"}, "<s>", "<s>"),
        ({"bos_token": "<s>"}, None, ""),
    ],
)
def test_the_begin_token_is_the_one_that_the_tokenizer_puts_before_a_text(
    tmp_path: Path, config: dict[str, object], processor: str | None, begin: str
) -> None:
    """Llama 3's post-processor does, among others; Qwen's tokenizer has none."""
    steps: list[dict[str, object]] = [{"type": "ByteLevel"}]
    if processor is not None:
        single = [{"SpecialToken": {"id": processor, "type_id": 0}}, {"Sequence": {"id": "A"}}]
        steps.append({"type": "TemplateProcessing", "single": single})
    file = {"post_processor": {"type": "Sequence", "processors": steps}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(file))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert begin_token(tmp_path) == begin
