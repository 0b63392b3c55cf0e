"""What ``tsplanner train`` leaves on disk, and what it refuses before it starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from tests.support import tiny
from tests.support.verb import command, planned, run_verb, wait_for
from tsplanner.commands import train
from tsplanner.commands.train import newest_run, plan_and_folder
from tsplanner.commands.work import full_run
from tsplanner.errors import TsplannerError
from tsplanner.folders.owner import RunFolder
from tsplanner.planner.files import write_plan
from tsplanner.training.job import Job, JobKind, Status
from tsplanner.training.record import Record


@pytest.mark.slow
def test_train_leaves_a_whole_run_folder(tmp_path: Path) -> None:
    """Adapter, plan, metrics, versions and report lie in saves/tiny/lora/<date>-1."""
    path = planned(tmp_path)
    done = run_verb(tmp_path, "train", "--plan", str(path))
    assert done.returncode == 0, done.stderr + done.stdout
    (folder,) = (tmp_path / "saves" / "tiny" / "lora").iterdir()
    names = {item.name for item in folder.iterdir()}
    assert {"adapter", "plan.json", "metrics.jsonl", "versions.json"} <= names
    assert {"report.html", "report.md", "loss.svg"} <= names
    again = run_verb(tmp_path, "train", "--plan", str(path), "--run-folder", str(folder))
    assert again.returncode == 1
    assert "add --resume" in again.stderr


@pytest.mark.slow
def test_a_training_that_a_scheduler_ends_goes_on_and_is_over_once(tmp_path: Path) -> None:
    """SIGTERM: 143 and the command; then status 0; then the same status, and nothing changes."""
    path = planned(tmp_path, num_train_epochs=40)
    line, environment = command(tmp_path, "train", "--plan", str(path), "--run-folder", "run")
    child = subprocess.Popen(line, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    wait_for(tmp_path / "run", "checkpoint-*/trainer_state.json")
    child.send_signal(signal.SIGTERM)
    said, _ = child.communicate(timeout=60)
    assert child.returncode == 143
    assert "Ended by SIGTERM. Go on with  tsplanner train --run-folder run --resume" in said
    resumed = run_verb(tmp_path, "train", "--run-folder", "run", "--resume")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    before = contents(tmp_path / "run")
    again = run_verb(tmp_path, "train", "--run-folder", "run", "--resume")
    assert again.returncode == 0
    assert "its adapter is in run/adapter: nothing was done" in again.stdout
    assert contents(tmp_path / "run") == before


def started(saves: Path, name: str, seconds: int) -> Path:
    """A run folder in which a worker began."""
    folder = saves / "tiny" / "lora" / name
    folder.mkdir(parents=True)
    (folder / "job.json").write_text("{}")
    os.utime(folder / "job.json", (seconds, seconds))
    return folder


def test_the_run_that_was_started_last_is_resumed(tmp_path: Path) -> None:
    """Runs of the plan's own model and method are looked at; its plan is that of the run."""
    path, saves = planned(tmp_path), tmp_path / "saves"
    with pytest.raises(TsplannerError, match=r"No run under .*lora to resume"):
        newest_run(path, saves)
    started(saves, "1", 20)
    started(saves, "2", 10)
    assert newest_run(None, saves).name == "1"
    own = tiny.with_learning(tiny.plan(tmp_path), seed=7)
    write_plan(own, saves / "tiny" / "lora" / "1" / "plan.json")
    found = plan_and_folder(None, saves, None, resume=True)
    run = saves / "tiny" / "lora" / "1"
    assert found == (own, run / "plan.json", run)


def test_a_new_run_has_no_folder_yet(tmp_path: Path) -> None:
    """The folder is made once the machine is known to have room."""
    path = planned(tmp_path)
    plan, file, folder = plan_and_folder(path, tmp_path / "saves", None, resume=False)
    assert (file, folder) == (path, None)
    assert plan.model.name == "tiny"


def test_a_used_folder_is_resumed_or_refused(tmp_path: Path) -> None:
    """Nothing is trained over, and nothing that never began is resumed."""
    path, saves = planned(tmp_path), tmp_path / "saves"
    used = started(saves, "1", 10)
    with pytest.raises(TsplannerError, match="holds a run already: add --resume"):
        plan_and_folder(path, saves, used, resume=False)
    with pytest.raises(TsplannerError, match="holds no run to resume"):
        plan_and_folder(path, saves, tmp_path / "new", resume=True)
    assert plan_and_folder(path, saves, tmp_path / "new", resume=False)[2] == tmp_path / "new"


def test_a_machine_without_room_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    """The plan needs 0.9 GiB of RAM, and 0.5 are free."""
    path = planned(tmp_path)
    here = tiny.machine()
    here = replace(here, host=replace(here.host, available_bytes=2**29))
    with pytest.raises(TsplannerError, match=r"0\.5 of 16\.0 GiB of RAM free"):
        train.run(plan_path=path, saves=tmp_path / "saves", here=here)
    assert not (tmp_path / "saves" / "tiny" / "lora").exists()


def ended(folder: Path, status: Status) -> Path:
    """A run folder whose worker has left a record, an adapter and a report."""
    path = planned(folder)
    run = started(folder / "saves", "1", 10)
    write_plan(tiny.plan(folder), run / "plan.json")
    record = Record(status=status, kind=JobKind.TRAIN, steps=33)
    (run / "record.json").write_bytes(msgspec.json.encode(record))
    (run / "adapter").mkdir()
    (run / "adapter" / "adapter_model.safetensors").write_text("weights")
    (run / "report.md").write_text("report")
    assert path.is_file()
    return run


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file of a folder, with its content and the time it changed."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_run_that_is_over_is_told_and_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 0, the adapter is named, and no byte and no time of any file changes."""
    run, saves = ended(tmp_path, Status.OK), tmp_path / "saves"
    before = contents(tmp_path)
    monkeypatch.setattr(full_run, "run_job", lambda *_, **__: pytest.fail("it was trained again"))
    for folder in (run, None):
        assert train.run(saves=saves, run_folder=folder, resume=True, here=tiny.machine()) == 0
        said = capsys.readouterr().out
        assert said.startswith(f"plan   {run}/plan.json, ")
        assert f"This run is over (33 steps), and its adapter is in {run}/adapter" in said
    assert train.run(saves=saves, run_folder=run, resume=True, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["already_finished"] is True
    assert contents(tmp_path) == before


def test_a_run_without_its_weights_claims_no_success(tmp_path: Path) -> None:
    """The record alone says that it ended well: the sentence says how to train it anew."""
    run = ended(tmp_path, Status.OK)
    (run / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(TsplannerError, match=r"its adapter is gone: .* --resume --force"):
        train.run(saves=tmp_path / "saves", run_folder=run, resume=True, here=tiny.machine())


@pytest.mark.parametrize("status", [one for one in Status if one is not Status.OK])
def test_a_run_that_ended_in_any_other_way_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: Status
) -> None:
    """Only a run that came to its end is over."""
    run, jobs = ended(tmp_path, status), list[Job]()

    def work(job: Job, **_: object) -> Record:
        jobs.append(job)
        return Record(status=Status.OK, kind=JobKind.TRAIN)

    monkeypatch.setattr(full_run, "run_job", work)
    train.run(saves=tmp_path / "saves", run_folder=run, resume=True, here=tiny.machine())
    assert [job.resume for job in jobs] == [True]


def test_force_trains_anew_what_is_over_and_goes_on_with_what_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are --resume --force."""
    jobs = list[Job]()

    def work(job: Job, **_: object) -> Record:
        jobs.append(job)
        return Record(status=Status.OK, kind=JobKind.TRAIN)

    monkeypatch.setattr(full_run, "run_job", work)
    for name, status in (("a", Status.OK), ("b", Status.KILLED)):
        run = ended(tmp_path / name, status)
        saves = tmp_path / name / "saves"
        train.run(saves=saves, run_folder=run, resume=True, force=True, here=tiny.machine())
    assert [job.resume for job in jobs] == [False, True]


def test_a_run_at_work_is_neither_resumed_nor_written_into(tmp_path: Path) -> None:
    """Without a folder the next older one is resumed; where there is none, the name is told."""
    run, saves = ended(tmp_path, Status.KILLED), tmp_path / "saves"
    other = started(saves, "2", 5)
    with RunFolder(run, "train", saves=saves):
        assert newest_run(None, saves) == other
        with pytest.raises(TsplannerError, match="is being written by tsplanner train, process"):
            train.run(saves=saves, run_folder=run, resume=True, here=tiny.machine())
        with (
            RunFolder(other, "tune", saves=saves),
            pytest.raises(TsplannerError, match="is being written by tsplanner tune, process"),
        ):
            train.run(saves=saves, resume=True, here=tiny.machine())


def test_a_run_that_another_process_began_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both saw an empty folder; the other one claimed it first, and was over or killed by now."""
    planned(tmp_path)
    run = tmp_path / "run"

    def meanwhile(*_: object) -> None:
        run.mkdir()
        (run / "job.json").write_text("the other's")

    monkeypatch.setattr(train.runs, "require_disk_space", meanwhile)
    with pytest.raises(TsplannerError, match="holds a run already"):
        train.run(saves=tmp_path / "saves", run_folder=run, here=tiny.machine())
    assert (run / "job.json").read_text() == "the other's"


def test_a_search_is_not_resumed_as_a_training(tmp_path: Path) -> None:
    """The sentence has the command that goes on with it."""
    planned(tmp_path)
    search = tmp_path / "run"
    search.mkdir()
    (search / "study.journal").write_text("")
    for resume in (False, True):
        with pytest.raises(TsplannerError, match=r"tsplanner tune --run-folder .*run --resume"):
            plan_and_folder(None, tmp_path / "saves", search, resume=resume)


def test_a_refused_training_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills between the check and the first file: the folder that was made is gone."""
    planned(tmp_path)

    def full(*_: object) -> None:
        raise TsplannerError("The disk is full.")

    monkeypatch.setattr(full_run, "write_plan", full)
    named = tmp_path / "saves" / "named"
    for folder in (None, named):
        with pytest.raises(TsplannerError, match="The disk is full"):
            train.run(saves=tmp_path / "saves", run_folder=folder, here=tiny.machine())
    assert list((tmp_path / "saves").rglob("owner.json")) == []
    assert not named.exists()


def test_random_weights_are_trained_only_where_they_are_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before a folder is made; with --random-weights the terminal says what it is."""
    found = tiny.plan(tmp_path)
    bare = replace(found, model=replace(found.model, has_weights=False))
    path = write_plan(bare, tmp_path / "saves" / "tiny" / "plan.json")
    options = train.TrainOptions(plan_path=path, saves=tmp_path / "saves")
    with pytest.raises(TsplannerError, match="would be trained from random weights"):
        train.train(options, tiny.machine())
    with pytest.raises(TsplannerError, match="would be trained from random weights"):
        train.run(plan_path=path, saves=tmp_path / "saves", here=tiny.machine())
    assert [each.name for each in (tmp_path / "saves" / "tiny").iterdir()] == ["plan.json"]
    monkeypatch.setattr(train, "start_full_run", lambda full: Record(**ENDED))
    assert train.train(replace(options, random_weights=True), tiny.machine()) == 1
    said = capsys.readouterr().out
    assert said.count("RANDOM WEIGHTS   there are no weights beside config.json") == 1


ENDED = {"status": Status.CRASHED, "kind": JobKind.TRAIN, "message": "a stand-in"}
