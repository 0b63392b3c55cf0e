"""What the verb refuses before it makes anything, and what it says to those who would join."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from memory_models.result import Interval
from tests.support import tiny
from tests.support.searching import View, Worker
from tests.support.study_worker import opened
from tsplanner.errors import TsplannerError, UsageError
from tsplanner.planner.files import write_plan
from tsplanner.tune import joining
from tsplanner.tune.options import SearchLocation, SpaceOptions, TuneOptions
from tsplanner.tune.run_folder import SEARCH_PLAN
from tsplanner.tune.study.study import Result, Study


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


def options(folder: Path, **location: object) -> TuneOptions:
    """A helper with everything inside ``folder``."""
    return TuneOptions(location=SearchLocation(saves=folder / "saves", **location))  # type: ignore[arg-type]


def led(folder: Path, **learning: object) -> Study:
    """A search that a process leads, with the plan that a helper reads."""
    study = opened(folder)
    study.workers.lead()
    study.workers.want(1)
    write_plan(tiny.with_learning(tiny.plan(folder.parent), **learning), folder / SEARCH_PLAN)
    return study


@pytest.mark.parametrize(
    ("asked", "flag"),
    [
        (TuneOptions(location=SearchLocation(resume=True)), "--resume"),
        (TuneOptions(location=SearchLocation(run_folder=Path("run"))), "--run-folder"),
        (TuneOptions(location=SearchLocation(plan_path=Path("plan.json"))), "--plan"),
        (TuneOptions(space=SpaceOptions(lora_rank="4")), "--lora-rank"),
        (TuneOptions(space=SpaceOptions(learning_rate="1e-4")), "--learning-rate"),
        (TuneOptions(space=SpaceOptions(epochs="2")), "--epochs"),
    ],
)
def test_what_the_search_sets_is_not_the_helpers_to_set(
    folder: Path, asked: TuneOptions, flag: str
) -> None:
    """The sentence names the flag to leave out."""
    with pytest.raises(UsageError, match=f"leave out {flag}$"):
        joining.open_joined(folder, asked, tiny.machine())


def test_a_folder_without_a_search_cannot_be_joined(tmp_path: Path, folder: Path) -> None:
    """Neither an empty folder, nor a study whose plan is missing."""
    for _ in range(2):
        with pytest.raises(TsplannerError, match="holds no search to join"):
            joining.open_joined(folder, options(tmp_path), tiny.machine())
        opened(folder)


def test_a_helper_searches_the_leaders_space_with_the_memory_of_its_own_machine(
    tmp_path: Path, folder: Path
) -> None:
    """Two GiB are free here of the twelve that the plan was made with."""
    first = led(folder)
    here = tiny.machine()
    here = replace(here, host=replace(here.host, available_bytes=2 * 2**30))
    study = joining.open_joined(folder, options(tmp_path), here)
    assert study.plan.free_bytes == 2 * 2**30
    assert study.encoding == first.encoding
    joined = joining.prepare_to_help(study, options(tmp_path), here)
    assert joined.leader == first.workers.name
    assert joined.slots.jobs == 2


def test_a_helper_runs_what_is_wanted_and_tells_which_trials_those_were(
    tmp_path: Path, folder: Path
) -> None:
    """The leader decides after the first trial ended here; then nothing is left to do."""
    first = led(folder)
    study = joining.open_joined(folder, options(tmp_path), tiny.machine())
    joined = joining.prepare_to_help(study, options(tmp_path), tiny.machine())

    class Leader(View):
        """Decides as soon as a trial has ended."""

        def ended(self, result: Result) -> None:
            """Note the end, and want no more."""
            super().ended(result)
            first.workers.finish()

    worker = Worker(lambda _: 1.0)
    assert joining.help_search(joined, worker, [Leader()]) == [0]
    assert len(worker.jobs) == 1
    with pytest.raises(TsplannerError, match="is over: there is nothing to help with"):
        joining.refuse_useless(study, joined.leader)


def test_nobody_helps_a_study_that_only_one_process_may_open(tmp_path: Path, folder: Path) -> None:
    """SQLite is for one process, whatever its leader does."""
    study = opened(folder, f"sqlite:///{tmp_path / 'studies.db'}")
    with pytest.raises(TsplannerError, match="is for one process: share a journal in a folder"):
        joining.refuse_useless(study, "host:7")


def test_a_machine_too_small_for_the_largest_trial_cannot_help(
    tmp_path: Path, folder: Path
) -> None:
    """The sentence says by how much, and that fewer at once may fit."""
    led(folder)
    study = joining.open_joined(folder, options(tmp_path), tiny.machine())
    little = Interval(expected=1, upper=1)
    memory = replace(study.plan.memory, process_bytes=little)
    study.plan = replace(study.plan, free_bytes=1, memory=memory)
    with pytest.raises(TsplannerError, match=r"GiB more than is free here: give --jobs a smaller"):
        joining.prepare_to_help(study, options(tmp_path), tiny.machine())
