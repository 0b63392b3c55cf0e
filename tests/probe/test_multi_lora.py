"""A worker whose trials share a base: what the parent hears while it runs, and after it died."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memory_models.settings import changed
from tests.support import tiny
from tests.support.multi_lora import shared_job
from tests.support.multi_lora_worker import MARKS, MultiLoraWorker, Trouble
from tsplanner.planner.settings import LearningSettings
from tsplanner.probe.multi_lora import (
    Metrics,
    MultiLoraRecords,
    clear_trial,
    first_trials,
    read_record,
    run_multi_lora,
    trials_of,
)
from tsplanner.training.job import Job, MultiLoraTrial, Status
from tsplanner.training.multi_lora.queue import close, offer
from tsplanner.training.record import Record


def two_trials(folder: Path, **options: object) -> Job:
    """A job of two trials with ranks 4 and 8."""
    plan = tiny.plan(folder)
    learning = [changed(plan.learning, lora_rank=rank) for rank in (4, 8)]
    return shared_job(plan, folder / "worker", learning, **options)


def alike(_: LearningSettings) -> float:
    """Every trial ends with a loss of 1."""
    return 1.0


def run(job: Job, *troubles: Trouble, **options: object) -> MultiLoraRecords:
    """Run a job with a stand-in for the worker."""
    server = MultiLoraWorker(alike, troubles)
    return run_multi_lora(job, time_limit_seconds=None, server=server, **options)  # type: ignore[arg-type]


def names(records: dict[str, Record]) -> dict[str, Status]:
    """How each trial ended, by the name of its folder."""
    return {Path(folder).name: record.status for folder, record in records.items()}


def test_every_line_is_heard_once_and_before_the_record_of_its_trial(tmp_path: Path) -> None:
    """Six evaluations and one record per trial, while the other trial goes on."""
    heard: list[tuple[str, str]] = []
    found = run(
        two_trials(tmp_path),
        on_metrics=lambda folder, _: heard.append((Path(folder).name, "line")),
        on_record=lambda folder, _: heard.append((Path(folder).name, "record")),
    )
    for name in ("0", "1"):
        own = [what for trial, what in heard if trial == name]
        assert own == ["line"] * MARKS + ["record"]
    assert found.worker.status is Status.OK
    assert names(found.trials) == {"0": Status.OK, "1": Status.OK}


def test_trials_that_a_killed_worker_had_at_work_are_told_how_it_ended(tmp_path: Path) -> None:
    """Two of three train when kill -9 comes; the third never began and has no record."""
    plan = tiny.plan(tmp_path)
    learning = [changed(plan.learning, lora_rank=rank) for rank in (4, 8, 16)]
    job = shared_job(plan, tmp_path / "worker", learning, max_concurrent_trials=2)
    found = run(job, Trouble(rounds=2))
    assert found.worker.status is Status.KILLED
    assert names(found.trials) == {"0": Status.KILLED, "1": Status.KILLED}
    left = json.loads((tmp_path / "worker" / "0" / "record.json").read_text())
    assert left["message"] == found.worker.message
    assert not (tmp_path / "worker" / "2" / "record.json").exists()


def test_what_an_earlier_run_left_is_not_mistaken_for_this_ones(tmp_path: Path) -> None:
    """Lines, a stop and a record of before are removed; the worker's own queue is, too."""
    job = two_trials(tmp_path, open=True)
    for trial in first_trials(job):
        Path(trial.folder).mkdir(parents=True)
        for name in ("record.json", "metrics.jsonl", "stop", "job.json"):
            (Path(trial.folder) / name).write_text("{}")
    offer(Path(job.folder), 7, first_trials(job)[0])
    heard: list[str] = []

    def check() -> None:
        close(Path(job.folder))

    found = run(job, on_metrics=lambda folder, _: heard.append(folder), check=check)
    assert len(heard) == 2 * MARKS
    assert names(found.trials) == {"0": Status.OK, "1": Status.OK}
    clear_trial(first_trials(job)[0])
    assert read_record(first_trials(job)[0]) is None


def test_trials_that_come_later_are_followed_as_well(tmp_path: Path) -> None:
    """A queue that is open brings them in the order of their numbers."""
    job = two_trials(tmp_path, open=True)
    late = [MultiLoraTrial(learning=job.plan.learning, folder=name) for name in ("b", "a")]
    offer(Path(job.folder), 9, late[0])
    offer(Path(job.folder), 10, late[1])
    assert [trial.folder for trial in trials_of(job)[2:]] == ["b", "a"]
    shut = two_trials(tmp_path)
    assert len(trials_of(shut)) == 2


def test_half_a_record_is_read_again_later(tmp_path: Path) -> None:
    """A worker that is writing has not ended its trial yet."""
    job = two_trials(tmp_path)
    ended: list[str] = []
    metrics = Metrics(job, None, lambda folder, _: ended.append(Path(folder).name))
    own = Path(first_trials(job)[0].folder)
    own.mkdir(parents=True)
    (own / "record.json").write_text('{"status": "ok", "ki')
    metrics.read()
    assert ended == []
    (own / "record.json").write_text('{"status": "ok", "kind": "trial"}')
    metrics.read()
    metrics.read()
    assert ended == ["0"]


def test_an_interruption_while_the_worker_runs_reaches_the_caller(tmp_path: Path) -> None:
    """What the check raises ends the worker."""

    def check() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        run(two_trials(tmp_path), check=check)
