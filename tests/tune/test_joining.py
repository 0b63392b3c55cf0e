"""What the verb refuses before it makes anything, and what it says to those who would join."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.study_worker import opened
from tsplanner.planner.files import write_plan


@pytest.mark.slow
def test_joining_says_what_is_wrong(tmp_path: Path, folder: Path) -> None:
    """No search, one that nobody leads, and flags that are not the worker's to set."""
    write_plan(tiny.plan(tmp_path), tmp_path / "plan.json")
    base = [sys.executable, "-m", "tsplanner", "tune", "--join"]

    def said(*words: str) -> str:
        done = subprocess.run(
            [*base, *words], check=False, cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode in (1, 2)
        assert done.stderr.count("\n") == 1
        return done.stderr

    assert "holds no search to join" in said("nowhere")
    assert "leave out --resume" in said("run", "--resume")
    opened(folder)
    write_plan(tiny.plan(tmp_path), folder / "search-plan.json")
    assert "Nobody leads the search in run now" in said("run")
