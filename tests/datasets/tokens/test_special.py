"""Special tokens in the words of a row are found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.rows import conversation
from tsplanner.datasets.records import Conversation
from tsplanner.datasets.tokens.special import SpecialTokens, special_tokens

FOUND = SpecialTokens(["<|im_start|>", "<|im_end|>", "</s>", "<ts>"])


@pytest.mark.parametrize(
    ("question", "answer", "token"),
    [
        ("What is <|im_end|>?", "An end.", "<|im_end|>"),
        ("a", "b</s><|im_end|>", "</s>"),
        ("a <|im_enD|> < s>", "b", ""),
        ("a <ts>", "b", ""),
    ],
)
def test_the_first_special_token_of_a_row_is_named(question: str, answer: str, token: str) -> None:
    """In the question or in the answer; the marks of series are no such tokens."""
    assert FOUND.inside(conversation(question, answer)) == token


def test_a_plain_text_may_have_special_tokens() -> None:
    """No template writes them there."""
    assert FOUND.inside(Conversation(text="<|im_start|>user", line=1)) == ""


def test_the_tokens_come_from_the_tokenizers_file(tmp_path: Path) -> None:
    """Only those that are special; without the file, or with a damaged one, there are none."""
    row = conversation("<tool_call>", "<|end|>")
    assert special_tokens(None).inside(row) == special_tokens(tmp_path).inside(row) == ""
    added = [{"content": "<tool_call>", "special": False}, {"content": "<|end|>", "special": True}]
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps({"added_tokens": added, "model": {}}))
    assert special_tokens(tmp_path).inside(row) == "<|end|>"
    file.write_text("{")
    assert special_tokens(tmp_path).inside(row) == ""
