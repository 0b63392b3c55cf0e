"""The plan and the run folder that a search starts from, and what is refused before it starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.searching import SPACE
from tests.support.study_worker import opened
from tests.support.verb import tune
from tsplanner.errors import TsplannerError, UsageError
from tsplanner.planner.files import read_plan, write_plan
from tsplanner.tune.options import SearchLocation, SpaceOptions, TuneOptions
from tsplanner.tune.run_folder import (
    SEARCH_PLAN,
    forget,
    newest_search,
    open_run_folder,
    refuse_other_ranges,
    search_space,
)


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


def asked(folder: Path, **location: object) -> TuneOptions:
    """A search with everything inside ``folder``."""
    return TuneOptions(location=SearchLocation(saves=folder / "saves", **location))  # type: ignore[arg-type]


def test_a_new_folder_keeps_the_plan_that_the_search_started_from(tmp_path: Path) -> None:
    """The newest plan under saves is used; plan.json stays free for the plan that is trained."""
    plan = tiny.plan(tmp_path)
    (tmp_path / "saves" / "tiny").mkdir(parents=True)
    write_plan(plan, tmp_path / "saves" / "tiny" / "plan.json")
    found, folder = open_run_folder(asked(tmp_path), tiny.machine())
    assert found == plan
    assert folder.parent == tmp_path / "saves" / "tiny" / "lora"
    assert [path.name for path in folder.iterdir()] == [SEARCH_PLAN]
    assert read_plan(folder / SEARCH_PLAN) == plan


def test_a_folder_with_a_search_is_resumed_and_never_overwritten(
    tmp_path: Path, folder: Path
) -> None:
    """Without --resume it is refused; with it the plan of the search comes back."""
    plan = tiny.plan(tmp_path)
    opened(folder)
    write_plan(plan, folder / SEARCH_PLAN)
    with pytest.raises(TsplannerError, match="holds a search already: add --resume"):
        open_run_folder(asked(tmp_path, run_folder=folder), tiny.machine())
    again = open_run_folder(asked(tmp_path, run_folder=folder, resume=True), tiny.machine())
    assert again == (plan, folder)


def test_there_must_be_something_to_resume(tmp_path: Path) -> None:
    """Neither an empty folder nor an empty saves folder is a search."""
    with pytest.raises(TsplannerError, match="holds no search to resume"):
        open_run_folder(asked(tmp_path, run_folder=tmp_path, resume=True), tiny.machine())
    with pytest.raises(TsplannerError, match=r"No search under .* to resume"):
        open_run_folder(asked(tmp_path, resume=True), tiny.machine())


def test_the_search_that_changed_last_is_the_newest(tmp_path: Path) -> None:
    """A journal or a note of a database marks a search."""
    for name, file, seconds in (
        ("a", "study.journal", 10),
        ("b", "study.json", 30),
        ("c", "study.journal", 20),
    ):
        folder = tmp_path / "m" / "lora" / name
        folder.mkdir(parents=True)
        (folder / file).write_text("")
        os.utime(folder / file, (seconds, seconds))
    assert newest_search(tmp_path).name == "b"


def test_a_refused_search_is_forgotten_but_no_trial_and_no_file_of_a_person(
    tmp_path: Path,
) -> None:
    """A folder with a trial in it stays whole; a file of other origin keeps its folder."""
    own = tmp_path / "own"
    (own / "trials").mkdir(parents=True)
    (own / SEARCH_PLAN).write_text("{}")
    (own / "study.journal").write_text("")
    forget(own)
    assert not own.exists()
    tried = tmp_path / "tried"
    (tried / "trials" / "0").mkdir(parents=True)
    (tried / SEARCH_PLAN).write_text("{}")
    forget(tried)
    assert (tried / SEARCH_PLAN).is_file()
    noted = tmp_path / "noted"
    noted.mkdir()
    (noted / "notes.txt").write_text("mine")
    (noted / SEARCH_PLAN).write_text("{}")
    forget(noted)
    assert [path.name for path in noted.iterdir()] == ["notes.txt"]


def test_ranges_of_a_person_narrow_the_default_space(tmp_path: Path) -> None:
    """What is not given stays as the plan suggests."""
    plan = tiny.plan(tmp_path)
    default = search_space(SpaceOptions(), plan)
    found = search_space(SpaceOptions(lora_rank="8,4", epochs="2"), plan)
    assert (found.lora_ranks, found.epochs) == ((4, 8), (2,))
    assert found.learning_rate == default.learning_rate
    with pytest.raises(UsageError, match="--lora-rank"):
        search_space(SpaceOptions(lora_rank="many"), plan)


@pytest.mark.parametrize(
    ("given", "flag"),
    [
        (SpaceOptions(lora_rank="4,8"), "--lora-rank was 4, 8, 16"),
        (SpaceOptions(epochs="1,2"), "--epochs was 1, 2, 3"),
        (SpaceOptions(learning_rate="1e-3..1e-2"), r"--learning-rate was 0\.0001, 0\.01"),
    ],
)
def test_a_resumed_search_keeps_its_ranges(given: SpaceOptions, flag: str) -> None:
    """The sentence names the flag and what the search began with."""
    with pytest.raises(TsplannerError, match=flag):
        refuse_other_ranges(given, SPACE)


def test_the_ranges_of_a_search_may_be_given_again() -> None:
    """Ranks that memory did not afford may be named, too: the search left them out itself."""
    same = SpaceOptions(lora_rank="4,8,16,64", learning_rate="1e-4..1e-2", epochs="3,2,1")
    assert refuse_other_ranges(same, SPACE) is None  # type: ignore[func-returns-value]
