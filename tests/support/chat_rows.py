"""Rows of chats for ``tsplanner data``, and what it prints of them."""

from __future__ import annotations

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
