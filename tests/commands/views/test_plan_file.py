"""The line that names the plan a verb uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tsplanner.commands.views.plan_file import age_words, plan_line


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 seconds old"),
        (1, "1 second old"),
        (59, "59 seconds old"),
        (185, "3 minutes old"),
        (7_199, "1 hour old"),
        (2 * 86_400, "2 days old"),
        (-90, "from a time that this clock has not reached"),
    ],
)
def test_an_age_is_in_its_largest_unit(seconds: int, words: str) -> None:
    """185 s are three minutes and a bit; a clock that was set back is said to be."""
    assert age_words(1_000_000.0, 1_000_000.0 + seconds) == words


def test_the_line_names_the_file(tmp_path: Path) -> None:
    """Written at 1,000 s, looked at 185 s later."""
    path = tmp_path / "plan.json"
    path.write_text("{}")
    os.utime(path, (1_000, 1_000))
    assert plan_line(path, now=1_185.0) == f"plan   {path}, 3 minutes old"
