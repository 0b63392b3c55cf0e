"""The plan and the run folder that a search starts from, and what is refused before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.study_worker import opened
from tests.support.verb import tune
from tsplanner.planner.files import write_plan


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
