"""Trials on one base in worker processes: stops, kills, and trials that come while others train."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.support import multi_lora, tiny
from tests.training.worker.test_entry import start, wait_for_lines
from tsplanner.probe.multi_lora import run_multi_lora
from tsplanner.training.job import MultiLoraTrial, Status
from tsplanner.training.multi_lora.queue import close, offer

pytestmark = pytest.mark.slow
LONG = {"num_train_epochs": 400}


def wait_for_record(folder: Path) -> None:
    """Wait until a trial has ended."""
    deadline = time.monotonic() + 120
    while not (folder / "record.json").exists():
        assert time.monotonic() < deadline, (folder.parent / "worker.log").read_text()
        time.sleep(0.02)


def ended(process: subprocess.Popen[bytes]) -> int:
    """The exit status of a worker."""
    return process.wait(timeout=120)


def test_a_stop_file_prunes_one_trial_and_the_workers_own_ends_all(tmp_path: Path) -> None:
    """The trial's folder is asked first; the others go on until the worker is asked."""
    plan = tiny.plan(tmp_path)
    folder = tmp_path / "shared"
    job = multi_lora.shared_job(plan, folder, multi_lora.trials(plan, (LONG, LONG)), threads=1)
    process = start(job)
    wait_for_lines(folder / "0", 3)
    (folder / "0" / "stop").touch()
    wait_for_record(folder / "0")
    assert multi_lora.record_in(folder / "0").status is Status.STOPPED
    assert not (folder / "1" / "record.json").exists()
    (folder / "stop").touch()
    assert ended(process) == 0
    assert multi_lora.record_in(folder / "1").status is Status.STOPPED
    assert multi_lora.record_in(folder).status is Status.STOPPED


def test_a_killed_worker_keeps_the_records_of_trials_that_had_ended(tmp_path: Path) -> None:
    """After kill -9 the first trial's record is whole; the others have none."""
    plan = tiny.plan(tmp_path)
    folder = tmp_path / "shared"
    learning = multi_lora.trials(plan, ({"num_train_epochs": 1}, LONG, LONG))
    process = start(
        multi_lora.shared_job(plan, folder, learning, max_concurrent_trials=2, threads=1)
    )
    wait_for_record(folder / "0")
    wait_for_lines(folder / "2", 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    record = multi_lora.record_in(folder / "0")
    assert (record.status, record.steps) == (Status.OK, 5)
    assert not any((folder / name / "record.json").exists() for name in ("1", "2"))
    assert not (folder / "record.json").exists()


def test_an_open_queue_takes_trials_that_come_later(tmp_path: Path) -> None:
    """A search asks for its next trial when it has seen a result; the worker waits for it."""
    plan = tiny.plan(tmp_path)
    folder = tmp_path / "shared"
    first, second = multi_lora.trials(plan, ({"num_train_epochs": 1}, {"seed": 7}))
    job = multi_lora.shared_job(plan, folder, [first], open=True, threads=1)

    def propose() -> None:
        wait_for_record(folder / "0")
        offer(folder, 1, MultiLoraTrial(learning=second, folder=str(folder / "1")))
        close(folder)

    thread = threading.Thread(target=propose)
    thread.start()
    records = run_multi_lora(job, time_limit_seconds=120)
    thread.join()
    assert records.worker.status is Status.OK
    assert [records.trials[str(folder / name)].steps for name in ("0", "1")] == [5, 10]


def test_a_worker_that_dies_blames_the_trials_at_work_alone(tmp_path: Path) -> None:
    """A trial that had not begun has no record, so that it can be tried again."""
    plan = tiny.plan(tmp_path)
    folder = tmp_path / "shared"
    learning = multi_lora.trials(plan, ({"num_train_epochs": 1}, LONG, LONG))
    job = multi_lora.shared_job(plan, folder, learning, max_concurrent_trials=1, threads=1)
    records = run_multi_lora(job, time_limit_seconds=8)
    assert records.worker.status is Status.TIMEOUT
    assert str(folder / "2") not in records.trials
