"""The flags of the rows of a dataset: those of a table are refused without its columns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.chat_rows import chats


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--convert", "."), "--convert . is a folder: name a file in it."),
        (("--window", "8"), "--window is for rows of a table: name its columns of numbers"),
        (("--answer", "x"), "--answer is for rows of a table"),
    ],
)
def test_flags_of_a_table_need_its_columns(
    words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    """They would be ignored in silence."""
    done = subprocess.run(
        [sys.executable, "-m", "tsplanner", "data", str(chats(tmp_path)), *words],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert said in done.stderr
