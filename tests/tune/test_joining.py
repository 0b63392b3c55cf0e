"""What the verb refuses before it makes anything, and what it says to those who would join."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.study_worker import opened
from tests.support.verb import run_folder, tune
from tsplanner.planner.files import write_plan


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder beside the tiny plan's data."""
    return run_folder(tmp_path)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--trials", "0"),
        ("--learning-rate", "1e-3..1e-5"),
        ("--learning-rate=-1..1", ""),
        ("--learning-rate", "1e-3..inf"),
        ("--lora-rank", ""),
        ("--lora-rank", "8,-4"),
        ("--epochs", "0"),
        ("--storage", "mysql://host/db"),
    ],
)
def test_range_that_is_none_ends_before_anything_is_made(
    tmp_path: Path, flag: str, value: str
) -> None:
    """One sentence, status 2, no run folder."""
    words = [flag] if "=" in flag else [flag, value]
    done = tune(tmp_path, "--run-folder", "run", *words)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert flag.partition("=")[0] in done.stderr
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "saves").exists()


@pytest.mark.parametrize("words", [("--lora-rank", "100000"), ("--budget", "1s")])
def test_search_that_is_refused_leaves_no_run_folder(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Ranks that cannot fit, or no time for a single run: nothing is there to be resumed."""
    done = tune(tmp_path, "--run-folder", "run", *words)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert not (tmp_path / "run").exists()


def test_other_ranges_than_the_searchs_own_are_refused(tmp_path: Path, folder: Path) -> None:
    """A belief over one range says nothing about another: resuming keeps the first."""
    opened(folder)
    write_plan(tiny.plan(tmp_path), folder / "search-plan.json")
    done = tune(tmp_path, "--run-folder", "run", "--resume", "--learning-rate", "1e-4..1e-3")
    assert done.returncode == 1
    assert "--learning-rate was 0.0001, 0.01 when this search began" in done.stderr


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
