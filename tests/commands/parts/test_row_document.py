"""Rows as one document, a line for each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.chat_rows import TINY, chats, shown


def test_json_is_one_document_with_a_line_for_each_row(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Ids, labels and the text are those of the same tokens."""
    said = shown(capsys, chats(tmp_path), tokenizer=TINY, as_json=True)
    document = json.loads(said)
    assert document["lengths"]["rows_kept"] == 2
    assert [row["line"] for row in document["rows"]] == [1, 2, 3]
    assert len(said.splitlines()) == 5
    assert document["rows"][1] == {
        "row": 2,
        "file": 0,
        "line": 2,
        "left_out": "no question with an answer",
        "reason": "no question followed by an answer",
    }
    row = document["rows"][0]
    assert len(row["input_ids"]) == len(row["labels"]) == 60
    assert sum(label != -100 for label in row["labels"]) == 11
    assert all(
        label in (-100, token) for token, label in zip(row["input_ids"], row["labels"], strict=True)
    )
    assert [row["text"][start:end] for start, end in row["learned"]] == [
        "It is open.<|im_end|>",
        "Sure.<|im_end|>",
    ]
