"""Rows as a model's own template writes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.rows import conversation
from tsplanner.datasets.records import Conversation, Role, Turn
from tsplanner.datasets.rendering.pieces import joined
from tsplanner.datasets.rendering.template import TemplateRenderer, special_tokens, template_of
from tsplanner.datasets.rows.fields import RowError

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_every_answer_and_the_end_of_its_turn_carry_loss() -> None:
    """Of four turns the two answers; the line end after the mark does not."""
    turns = tuple(
        Turn(role=role, content=text)
        for role, text in (
            (Role.USER, "Open?"),
            (Role.ASSISTANT, "Yes."),
            (Role.USER, "Now?"),
            (Role.ASSISTANT, "No."),
        )
    )
    pieces = TemplateRenderer(CHATML, {}).pieces(Conversation(turns=turns, line=1))
    assert [piece.text for piece in pieces if piece.learned] == ["Yes.<|im_end|>", "No.<|im_end|>"]
    assert joined(pieces).startswith(
        "<|im_start|>user\nOpen?<|im_end|>\n<|im_start|>assistant\nYes"
    )


def test_a_row_that_the_template_refuses_is_refused_in_its_words() -> None:
    """raise_exception is a template's own way to say so."""
    template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(RowError, match="refuses the row: roles must alternate"):
        TemplateRenderer(template, {}).pieces(conversation("Hi", "Hello"))


def test_template_and_special_tokens_come_from_the_tokenizers_folder(tmp_path: Path) -> None:
    """A file of its own goes before the key of tokenizer_config.json."""
    config = {"chat_template": "a", "eos_token": {"content": "</s>"}, "bos_token": None}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert template_of(tmp_path) == "a"
    assert special_tokens(tmp_path) == {"eos_token": "</s>"}
    (tmp_path / "chat_template.jinja").write_text("b")
    assert template_of(tmp_path) == "b"
