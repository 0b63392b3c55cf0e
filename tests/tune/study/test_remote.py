"""What workers without a shared folder read from the database."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.study_worker import opened
from tsplanner.errors import TsplannerError
from tsplanner.planner.files import read_plan
from tsplanner.tune.study.remote import carried_losses, carry_plan, folder_of, write_carried_losses
from tsplanner.tune.study.storage import holds_study
from tsplanner.tune.study.study import Study


def test_rows_travel_in_the_database_where_no_folder_is_shared(tmp_path: Path) -> None:
    """Another machine gets the files that trials are compared by; large ones are left out."""
    here, there = tmp_path / "here", tmp_path / "there"
    for number, row in ((0, "[[1.5, 10]]"), (1, "[[1.5, 10]]" * 20_000)):
        (here / str(number)).mkdir(parents=True)
        (here / str(number) / "eval_rows.json").write_text(row)
    trials = [
        SimpleNamespace(number=number, user_attrs=carried_losses(here / str(number)))
        for number in (0, 1)
    ]
    assert trials[1].user_attrs == {"rows": None}
    write_carried_losses(trials, there)
    assert (there / "0" / "eval_rows.json").read_text() == "[[1.5, 10]]"
    assert not (there / "1").exists()


def carried(folder: Path) -> tuple[Study, str]:
    """A study in a database that its plan travels in, and the URL of the database."""
    url = f"sqlite:///{folder.parent / 'studies.db'}"
    study = opened(folder, url)
    carry_plan(study.access.study, study.plan)
    return study, url


def test_another_machine_makes_its_own_folder_from_the_database(
    folder: Path, tmp_path: Path
) -> None:
    """The plan is the leader's, and the folder knows which study it belongs to."""
    study, url = carried(folder)
    found = folder_of(study.storage.name, url, tmp_path / "saves", "search-plan.json")
    assert found.parent == tmp_path / "saves" / "joined"
    assert read_plan(found / "search-plan.json") == study.plan
    assert holds_study(found)
    assert Study(found, study.plan, None).encoding == study.encoding


def test_a_study_of_another_program_cannot_be_joined(tmp_path: Path) -> None:
    """A study without a plan is none of tsplanner's; a name that is unknown is said to be."""
    import optuna

    url = f"sqlite:///{tmp_path / 'studies.db'}"
    optuna.create_study(study_name="theirs", storage=url)
    with pytest.raises(TsplannerError, match="theirs is no search of tsplanner"):
        folder_of("theirs", url, tmp_path, "search-plan.json")
    with pytest.raises(TsplannerError, match="has no search named ours"):
        folder_of("ours", url, tmp_path, "search-plan.json")


def test_losses_that_are_too_large_to_travel_are_refused_with_the_way_out(
    folder: Path, tmp_path: Path
) -> None:
    """A machine that cannot read the losses would compare trials by less than the others do."""
    study, url = carried(folder)
    study.ask().handle.set_user_attr("rows", None)
    with pytest.raises(TsplannerError, match="over 100 kB per trial: join it from a machine"):
        folder_of(study.storage.name, url, tmp_path / "saves", "search-plan.json")


def test_files_that_are_here_are_not_written_again(tmp_path: Path) -> None:
    """The machine that ran a trial keeps its own files."""
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "eval_rows.json").write_text("mine")
    trial = SimpleNamespace(number=0, user_attrs={"rows": {"eval_rows.json": "theirs"}})
    write_carried_losses([trial, SimpleNamespace(number=1, user_attrs={})], tmp_path)
    assert (tmp_path / "0" / "eval_rows.json").read_text() == "mine"
    assert not (tmp_path / "1").exists()
