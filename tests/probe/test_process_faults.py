"""Runs of two ranks that go wrong: each ends soon, as a whole, and says which rank was at fault."""

from __future__ import annotations

import json
import time
from pathlib import Path

import psutil
import pytest

from tests.support import two_ranks
from tsplanner.probe.runner import request_stop, run_job, run_jobs
from tsplanner.training.job import JobKind, Status
from tsplanner.training.record import Record

pytestmark = pytest.mark.slow

LONG = 400
"""Epochs of a run that something else must end."""


def rank_record(folder: Path, rank: int) -> dict[str, object]:
    """What one rank wrote."""
    value: dict[str, object] = json.loads((folder / f"record-{rank}.json").read_text())
    return value


@pytest.mark.parametrize("rank", [0, 1])
def test_killed_rank_ends_the_run_and_is_named(tmp_path: Path, rank: int) -> None:
    """Kill -9 of one rank in mid-step: 15 s later there is one record, and no process."""
    job = two_ranks.job(tmp_path, epochs=LONG)
    killed: list[float] = []
    family: list[psutil.Process] = []

    def kill() -> None:
        family.extend(psutil.Process().children(recursive=True))
        two_ranks.rank_process(rank).kill()
        killed.append(time.monotonic())

    record = run_job(job, time_limit_seconds=120, on_metrics=two_ranks.at_step(3, kill))
    assert time.monotonic() - killed[0] < 15
    assert record.status is Status.CRASHED
    assert f"lost process {rank}," in record.message
    assert two_ranks.all_gone([one for one in family if "worker" in cmdline(one)], 1)
    stored = json.loads((tmp_path / "run" / "record.json").read_text())
    assert stored["message"] == record.message


def cmdline(process: psutil.Process) -> str:
    """A process's words; empty for one that is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_rank_out_of_memory_ends_all_with_one_record_that_names_it(tmp_path: Path) -> None:
    """Of two GPUs the second is full: the run is out of memory, not crashed."""
    what = "import torch; raise torch.OutOfMemoryError('CUDA out of memory. Tried 2 GiB')"
    began = time.monotonic()
    record = run_job(
        two_ranks.job(tmp_path, epochs=LONG),
        time_limit_seconds=120,
        environment=two_ranks.breaking(tmp_path, what),
    )
    assert record.status is Status.DEVICE_OOM
    assert record.process == 1
    assert record.message.startswith("process 1: The GPU ran out of memory: CUDA out of memory.")
    assert len(record.processes) == 2
    assert time.monotonic() - began < 60


def test_job_that_fails_on_one_rank_leaves_the_next_to_a_new_worker(tmp_path: Path) -> None:
    """Of three jobs the second breaks: the third runs all the same, with ranks that agree."""
    what = "if 'two' in self.job.folder: raise KeyError('x')"
    place = two_ranks.breaking(tmp_path, what)["PYTHONPATH"]
    names = ("one", "two", "three")
    jobs = [two_ranks.job(tmp_path / name, JobKind.PROBE) for name in names]
    with pytest.MonkeyPatch.context() as outside:
        outside.setenv("PYTHONPATH", place)
        records = run_jobs(jobs, time_limit_seconds=150)
    assert [record.status for record in records] == [Status.OK, Status.CRASHED, Status.OK]
    assert records[1].message == "process 1: KeyError: 'x'"


def test_rank_that_raises_is_named_with_its_own_words(tmp_path: Path) -> None:
    """The others only lost a connection; that is not what a person should read."""
    record = run_job(
        two_ranks.job(tmp_path, epochs=LONG),
        time_limit_seconds=120,
        environment=two_ranks.breaking(tmp_path, "raise KeyError('x')"),
    )
    assert record.status is Status.CRASHED
    assert record.message == "process 1: KeyError: 'x'"


def test_stop_file_ends_all_ranks_after_the_same_step(tmp_path: Path) -> None:
    """Ranks agree on where they stop, so that nobody waits for the other."""
    job = two_ranks.job(tmp_path, epochs=LONG)
    record = run_job(
        job,
        time_limit_seconds=120,
        on_metrics=two_ranks.at_step(3, lambda: request_stop(tmp_path / "run")),
    )
    assert record.status is Status.STOPPED
    assert 3 <= record.steps < 2000
    assert rank_record(tmp_path / "run", 1)["steps"] == record.steps
    assert rank_record(tmp_path / "run", 1)["status"] == "stopped"


def test_time_limit_ends_ranks_of_which_one_hangs(tmp_path: Path) -> None:
    """A rank that sleeps holds the other in a collective; both are gone soon after the limit."""
    began = time.monotonic()
    record = run_job(
        two_ranks.job(tmp_path, epochs=LONG),
        time_limit_seconds=35,
        environment=two_ranks.breaking(tmp_path, "time.sleep(600)"),
    )
    assert record.status is Status.TIMEOUT
    assert 35 <= time.monotonic() - began < 45
    workers = [one for one in psutil.Process().children(recursive=True) if "worker" in cmdline(one)]
    assert two_ranks.all_gone(workers, 1)


def test_resumed_run_of_two_ranks_ends_with_the_loss_it_would_have_had(tmp_path: Path) -> None:
    """A run that lost a rank goes on from its last checkpoint."""
    whole = two_ranks.job(tmp_path / "whole", JobKind.TRAIN, epochs=8)
    expected = finished(run_job(whole, time_limit_seconds=200))
    cut = two_ranks.job(tmp_path / "cut", JobKind.TRAIN, epochs=8)

    def kill() -> None:
        two_ranks.rank_process(1).kill()

    lost = run_job(cut, time_limit_seconds=200, on_metrics=two_ranks.at_step(14, kill))
    assert lost.status is Status.CRASHED
    again = two_ranks.job(tmp_path / "cut", JobKind.TRAIN, epochs=8, resume=True)
    resumed = finished(run_job(again, time_limit_seconds=200))
    assert resumed.steps == expected.steps == 40
    assert resumed.losses.evaluations[-1].loss == pytest.approx(
        expected.losses.evaluations[-1].loss, abs=1e-5
    )
    rows = (tmp_path / "cut" / "run" / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(row)["step"] for row in rows if "learning_rate" in row]
    assert steps == list(range(1, 41))


def finished(record: Record) -> Record:
    """A record that tells of no trouble."""
    assert record.status is Status.OK, record.message
    return record
