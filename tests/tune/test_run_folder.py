"""The plan and the run folder that a search starts from, and what is refused before it starts."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.searching import SPACE
from tests.support.study_worker import opened
from tests.support.verb import tune
from tsplanner.errors import TsplannerError, UsageError
from tsplanner.folders.owner import RunFolder
from tsplanner.planner.files import write_plan
from tsplanner.probe.measured_plan import plan_digest
from tsplanner.tune.options import SearchLocation, SpaceOptions, TuneOptions
from tsplanner.tune.run_folder import (
    SEARCH_FILES,
    SEARCH_PLAN,
    find_start,
    folder_asked,
    has_trials,
    holds_search,
    newest_search,
    refuse_begun,
    refuse_nothing_to_search,
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


def test_the_newest_plan_is_searched_and_nothing_is_made_yet(tmp_path: Path) -> None:
    """The newest plan under saves is used; a folder is made once the search may stay in it."""
    plan = tiny.plan(tmp_path)
    file = tmp_path / "saves" / "tiny" / "plan.json"
    write_plan(plan, file)
    start = find_start(asked(tmp_path), tiny.machine())
    assert (start.plan, start.file, start.folder) == (plan, file, None)
    named = find_start(asked(tmp_path, run_folder=tmp_path / "new"), tiny.machine())
    assert named.folder == tmp_path / "new"
    assert not (tmp_path / "new").exists()
    assert [path.name for path in (tmp_path / "saves" / "tiny").iterdir()] == ["plan.json"]


def test_a_folder_with_a_search_is_resumed_and_never_overwritten(
    tmp_path: Path, folder: Path
) -> None:
    """Without --resume it is refused; with it the plan of the search comes back."""
    plan = tiny.plan(tmp_path)
    opened(folder)
    write_plan(plan, folder / SEARCH_PLAN)
    with pytest.raises(TsplannerError, match="holds a search already: add --resume"):
        find_start(asked(tmp_path, run_folder=folder), tiny.machine())
    again = find_start(asked(tmp_path, run_folder=folder, resume=True), tiny.machine())
    assert (again.plan, again.file, again.folder) == (plan, folder / SEARCH_PLAN, folder)


def test_a_search_that_was_killed_before_it_began_is_none(tmp_path: Path, folder: Path) -> None:
    """Its plan is written last, so a study without plan and trials may be begun again."""
    opened(folder)
    assert not holds_search(folder)
    with pytest.raises(TsplannerError, match="holds no search to resume"):
        find_start(asked(tmp_path, run_folder=folder, resume=True), tiny.machine())
    (folder / "trials" / "0").mkdir(parents=True)
    assert has_trials(folder)
    assert holds_search(folder)
    with pytest.raises(TsplannerError, match="holds a search already"):
        refuse_begun(folder)


@pytest.mark.parametrize("name", ["server.log", SEARCH_PLAN, "adapter", "study.lock"])
def test_files_of_a_person_are_never_written_over(tmp_path: Path, name: str) -> None:
    """A search does not begin in a folder that has a file of a name that it would write."""
    own = tmp_path / "own"
    own.mkdir()
    (own / name).write_text("mine")
    write_plan(tiny.plan(tmp_path), tmp_path / "saves" / "tiny" / "plan.json")
    with pytest.raises(TsplannerError, match=f"holds {name}, which this run would write over"):
        find_start(asked(tmp_path, run_folder=own), tiny.machine())
    assert (own / name).read_text() == "mine"
    assert len(list(own.iterdir())) == 1


def test_a_search_does_not_begin_over_a_full_run(tmp_path: Path) -> None:
    """Its adapter would be replaced at the end of the search."""
    (tmp_path / "ran").mkdir()
    (tmp_path / "ran" / "job.json").write_text("{}")
    with pytest.raises(TsplannerError, match="holds a run already"):
        find_start(asked(tmp_path, run_folder=tmp_path / "ran"), tiny.machine())


@pytest.mark.parametrize("resume", [True, False])
def test_trials_without_their_study_are_never_written_over(tmp_path: Path, resume: bool) -> None:
    """A journal that was deleted may come back; a new search would begin with trial 0 there."""
    write_plan(tiny.plan(tmp_path), tmp_path / "saves" / "tiny" / "plan.json")
    (tmp_path / "run" / "trials" / "0").mkdir(parents=True)
    with pytest.raises(TsplannerError, match=r"trials of a search whose study\.journal is gone"):
        find_start(asked(tmp_path, run_folder=tmp_path / "run", resume=resume), tiny.machine())


def test_there_must_be_something_to_resume(tmp_path: Path) -> None:
    """Neither an empty folder nor an empty saves folder is a search."""
    with pytest.raises(TsplannerError, match="holds no search to resume"):
        find_start(asked(tmp_path, run_folder=tmp_path, resume=True), tiny.machine())
    with pytest.raises(TsplannerError, match=r"No search under .* to resume"):
        find_start(asked(tmp_path, resume=True), tiny.machine())


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


def test_a_search_that_is_led_is_not_taken(tmp_path: Path) -> None:
    """The older one that nobody leads is resumed; where all are led, that is the newest."""
    saves = tmp_path / "saves"
    for name in ("older", "newer"):
        folder = saves / "m" / "lora" / name
        folder.mkdir(parents=True)
        (folder / "study.journal").write_text("")
        with RunFolder(folder, "tune", saves=saves):
            pass
    location = SearchLocation(saves=saves, resume=True)
    assert folder_asked(location) == saves / "m" / "lora" / "newer"
    with RunFolder(saves / "m" / "lora" / "newer", "tune", saves=saves):
        assert newest_search(saves).name == "older"
        with RunFolder(saves / "m" / "lora" / "older", "tune", saves=saves):
            assert newest_search(saves).name == "older"


def test_a_refused_search_takes_away_what_it_made_and_nothing_else(tmp_path: Path) -> None:
    """A file that was there before stays, and so does the folder that holds it."""
    with RunFolder(tmp_path / "own", "tune") as made:
        for name in (SEARCH_PLAN, "study.journal"):
            (tmp_path / "own" / name).write_text("")
        made.undo(SEARCH_FILES)
    assert not (tmp_path / "own").exists()
    noted = tmp_path / "noted"
    noted.mkdir()
    for name in ("notes.txt", "server.log"):
        (noted / name).write_text("mine")
    with RunFolder(noted, "tune") as made:
        (noted / "study.journal").write_text("")
        made.undo(SEARCH_FILES)
    assert sorted(path.name for path in noted.iterdir()) == ["notes.txt", "server.log"]


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


def test_a_search_with_nothing_left_to_search_is_refused(tmp_path: Path) -> None:
    """Rank, rate and epochs were given to plan; a range for one of them opens it again."""
    plan = tiny.plan(tmp_path)
    names = ("learning_rate", "lora_rank", "num_train_epochs")
    given = replace(plan, learning=replace(plan.learning, given=names))
    with pytest.raises(UsageError, match="Everything that is searched was given to plan"):
        refuse_nothing_to_search(SpaceOptions(), given)
    refuse_nothing_to_search(SpaceOptions(learning_rate="1e-4..1e-2"), given)
    found = search_space(SpaceOptions(learning_rate="1e-4..1e-2"), given)
    assert found.learning_rate == (1e-4, 1e-2)
    assert (found.lora_ranks, found.epochs) == ((4,), (2,))


def test_epochs_are_not_searched_where_the_plan_has_a_number_of_steps(tmp_path: Path) -> None:
    """Every trial would be the same."""
    plan = tiny.with_learning(tiny.plan(tmp_path), max_steps=7)
    assert search_space(SpaceOptions(), plan).epochs == (2,)
    with pytest.raises(UsageError, match="the plan has --max-steps 7"):
        search_space(SpaceOptions(epochs="1,2"), plan)


def test_a_probed_plan_is_searched_with_its_measured_seconds(tmp_path: Path) -> None:
    """Half the predicted seconds were measured."""
    plan, file = tiny.plan(tmp_path), tmp_path / "saves" / "tiny" / "plan.json"
    write_plan(plan, file)
    document = {
        "status": "ok",
        "step_seconds": {"predicted": 2.0, "measured": 1.0},
        "plan_digest": plan_digest(file),
    }
    (file.parent / "probe.json").write_text(json.dumps(document))
    found = find_start(asked(tmp_path), tiny.machine()).plan
    assert found.time.total_seconds == plan.time.total_seconds / 2
