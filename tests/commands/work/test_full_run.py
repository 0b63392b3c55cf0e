"""A full run in its folder: what it leaves, and what it never does twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from memory_models.settings import FinetuningType
from tests.support import tiny
from tests.support.searching import Worker
from tsplanner import runs
from tsplanner.commands.work.full_run import FullRun, disk_bytes, start_full_run
from tsplanner.errors import TsplannerError
from tsplanner.planner.files import read_plan
from tsplanner.training.job import Job, JobKind, Status


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
    first, *steps = capsys.readouterr().out.splitlines()
    assert first == "train  20 rows, 2 epochs, about 1 s  10 steps"
    assert steps[0] == "step 1/10  eval 6.000"
    assert len(steps) == 6


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


def test_a_run_that_is_over_is_trained_again_only_anew_or_with_other_settings(
    tmp_path: Path,
) -> None:
    """One worker for the first run, none for the resumed one, then one each."""
    worker = Worker(alike)
    run = full_run(tmp_path, worker)
    start_full_run(run)
    (run.folder / "adapter").mkdir()
    (run.folder / "adapter" / "adapter_model.safetensors").write_text("weights")
    again = start_full_run(replace(run, resume=True))
    assert (again.status, len(worker.jobs)) == (Status.OK, 1)
    start_full_run(replace(run, resume=True, anew=True))
    assert (len(worker.jobs), worker.jobs[-1].resume) == (2, False)
    other = tiny.with_learning(run.plan, seed=7)
    start_full_run(replace(run, plan=other, resume=True))
    assert (len(worker.jobs), worker.jobs[-1].resume) == (3, True)
