"""Rows as one document, a line for each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.data_options import data_options
from tests.support.rows import written
from tsplanner.commands.data import run

TINY = Path("configs/models/tiny-chatts")
CHAT = {
    "messages": [
        {"role": "system", "content": "Answer briefly."},
        {"role": "user", "content": "Open the valve?"},
        {"role": "assistant", "content": "It is open."},
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": "Sure."},
    ]
}
NO_ANSWER = {"messages": [{"role": "user", "content": "Anybody?"}]}


def chats(folder: Path) -> Path:
    """A dialogue, a row without an answer, and the dialogue again."""
    return written(folder, [CHAT, NO_ANSWER, CHAT])


def shown(capsys: pytest.CaptureFixture[str], path: Path, **options: Any) -> str:
    """What is printed."""
    assert run(data_options(path, **options)) == 0
    return capsys.readouterr().out


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
