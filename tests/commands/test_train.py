"""What ``tsplanner train`` leaves on disk, and what it refuses before it starts."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from memory_models.settings import FinetuningType
from tests.support import tiny
from tests.support.searching import Worker
from tests.support.verb import planned, run_verb
from tsplanner import runs
from tsplanner.commands import train
from tsplanner.commands.train import (
    FullRun,
    disk_bytes,
    newest_run,
    plan_and_folder,
    start_full_run,
)
from tsplanner.errors import TsplannerError
from tsplanner.planner.files import read_plan, write_plan
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


def full_run(folder: Path, worker: Worker, **more: object) -> FullRun:
    """A full run of the tiny plan with a stand-in for its worker."""
    run = folder / "saves" / "tiny" / "lora" / "1"
    run.mkdir(parents=True)
    return FullRun(
        plan=tiny.plan(folder), folder=run, saves=folder / "saves", server=worker, **more
    )  # type: ignore[arg-type]


def alike(_: Job) -> float:
    """Every run ends with a loss of 1."""
    return 1.0


def test_disk_space_is_three_checkpoints_and_two_sets_of_weights(tmp_path: Path) -> None:
    """3,000 trained parameters: 3 x 12 x 3,000 of checkpoints, 2 x 4 x 3,000 of adapters, 64 MiB.

    A full fine-tune saves all 38,000 parameters twice.
    """
    plan = tiny.plan(tmp_path)
    assert disk_bytes(plan) == 108_000 + 24_000 + 64 * 2**20
    full = tiny.with_learning(plan, finetuning_type=FinetuningType.FULL)
    assert disk_bytes(full) == 108_000 + 304_000 + 64 * 2**20


def test_a_run_leaves_its_plan_its_versions_and_a_report_with_remarks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Checkpoints are removed once the run has ended well; a pipe gets one line."""
    run = full_run(tmp_path, Worker(alike), remarks=["Trial 2 is better."])
    (run.folder / "checkpoints").mkdir()
    record = start_full_run(run)
    assert record.status is Status.OK
    assert record.kind is JobKind.TRAIN
    assert read_plan(run.folder / "plan.json") == run.plan
    assert "torch" in json.loads((run.folder / "versions.json").read_text())
    assert "Trial 2 is better." in (run.folder / "report.md").read_text()
    assert not (run.folder / "checkpoints").exists()
    assert capsys.readouterr().out == "train  20 rows, 2 epochs, about 1 s  10 steps\n"


def test_a_run_that_failed_keeps_its_checkpoints(tmp_path: Path) -> None:
    """They are what --resume goes on from; JSON gets no line of progress."""
    run = full_run(tmp_path, Worker(alike, Status.DIVERGED, "the loss is nan"), shown=False)
    (run.folder / "checkpoints").mkdir()
    record = start_full_run(run)
    assert (record.status, record.message) == (Status.DIVERGED, "the loss is nan")
    assert (run.folder / "checkpoints").is_dir()
    assert (run.folder / "report.html").is_file()


def test_a_disk_without_room_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody trains for hours to fail at the last write."""
    worker = Worker(alike)
    run = full_run(tmp_path, worker)
    monkeypatch.setattr(runs, "free_disk_bytes", lambda _: 1)
    with pytest.raises(TsplannerError, match="GiB free and this run writes up to"):
        start_full_run(run)
    assert worker.jobs == []
    assert list(run.folder.iterdir()) == []


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
    assert found == (own, saves / "tiny" / "lora" / "1")


def test_a_new_run_has_no_folder_yet(tmp_path: Path) -> None:
    """The folder is made once the machine is known to have room."""
    path = planned(tmp_path)
    plan, folder = plan_and_folder(path, tmp_path / "saves", None, resume=False)
    assert folder is None
    assert plan.model.name == "tiny"


def test_a_used_folder_is_resumed_or_refused(tmp_path: Path) -> None:
    """Nothing is trained over, and nothing that never began is resumed."""
    path, saves = planned(tmp_path), tmp_path / "saves"
    used = started(saves, "1", 10)
    with pytest.raises(TsplannerError, match="holds a run already: add --resume"):
        plan_and_folder(path, saves, used, resume=False)
    with pytest.raises(TsplannerError, match="holds no run to resume"):
        plan_and_folder(path, saves, tmp_path / "new", resume=True)
    assert plan_and_folder(path, saves, tmp_path / "new", resume=False)[1] == tmp_path / "new"


def test_a_machine_without_room_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    """The plan needs 0.9 GiB of RAM, and 0.5 are free."""
    path = planned(tmp_path)
    here = tiny.machine()
    here = replace(here, host=replace(here.host, available_bytes=2**29))
    with pytest.raises(TsplannerError, match=r"0\.5 of 16\.0 GiB of RAM free"):
        train.run(plan_path=path, saves=tmp_path / "saves", here=here)
    assert not (tmp_path / "saves" / "tiny" / "lora").exists()


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
