"""What the parent makes of workers that end badly; the workers are stand-ins but real processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import pytest

from tests.support import tiny
from tests.support.stand_in import Call, StandIn
from tsplanner.probe.runner import Tail, log_tail, oom_kills, run_job, was_out_of_memory
from tsplanner.processes import ProcessResult, run_process
from tsplanner.training.job import Job, JobKind, Status
from tsplanner.training.record import Record


class Script(StandIn):
    """Runs a line of Python instead of the worker."""

    def __init__(self, code: str) -> None:
        self.code = code

    def answer(self, call: Call) -> ProcessResult:
        """Start Python with the job's path as its argument."""
        return run_process(
            [sys.executable, "-c", self.code, *call.arguments],
            log_path=call.log_path,
            time_limit_seconds=call.time_limit_seconds,
            poll=call.poll,
            poll_seconds=0.02,
            environment=call.environment,
        )


def job(tmp_path: Path, *, resume: bool = False) -> Job:
    """A probe of the tiny model."""
    plan = tiny.plan(tmp_path)
    return Job(kind=JobKind.PROBE, plan=plan, folder=str(tmp_path / "run"), resume=resume)


def test_record_of_the_worker_is_handed_on(tmp_path: Path) -> None:
    """A worker that writes a whole record is believed."""
    record = Record(status=Status.DEVICE_OOM, kind=JobKind.PROBE, message="The GPU is full.")
    text = msgspec.json.encode(record).decode()
    code = (
        "import pathlib, sys\n"
        f"(pathlib.Path(sys.argv[1]).parent / 'record.json').write_text({text!r})\nsys.exit(1)"
    )
    assert run_job(job(tmp_path), time_limit_seconds=30, server=Script(code)) == record


def test_worker_without_a_record_is_a_crash_with_its_last_words(tmp_path: Path) -> None:
    """A worker that dies in an import shows the end of its log."""
    found = run_job(
        job(tmp_path), time_limit_seconds=30, server=Script("raise ImportError('no such thing')")
    )
    assert found.status is Status.CRASHED
    assert "no such thing" in found.message
    assert json.loads((tmp_path / "run" / "record.json").read_text())["status"] == "crashed"


def test_half_a_record_is_a_crash(tmp_path: Path) -> None:
    """A record cut off in the middle is not guessed at."""
    code = (
        "import pathlib, sys\n"
        "(pathlib.Path(sys.argv[1]).parent / 'record.json').write_text('{\"status\": \"ok')"
    )
    found = run_job(job(tmp_path), time_limit_seconds=30, server=Script(code))
    assert found.status is Status.CRASHED


def test_worker_over_its_time_limit_is_ended(tmp_path: Path) -> None:
    """A probe that hangs becomes a timeout."""
    found = run_job(
        job(tmp_path), time_limit_seconds=0.5, server=Script("import time; time.sleep(60)")
    )
    assert found.status is Status.TIMEOUT


def test_kill_with_memory_to_spare_is_no_out_of_memory(tmp_path: Path) -> None:
    """SIGKILL alone says nothing; only the kernel's counter or full memory does."""
    code = "import os; os.kill(os.getpid(), 9)"
    found = run_job(job(tmp_path), time_limit_seconds=30, server=Script(code))
    assert found.status is Status.KILLED
    assert "SIGKILL" in found.message
    assert was_out_of_memory(None, used_share=0.99)
    assert not was_out_of_memory(None, used_share=0.5)


def test_kernel_counter_is_read_from_either_cgroup_version(tmp_path: Path) -> None:
    """Both files hold a line oom_kill N."""
    two = tmp_path / "memory.events"
    two.write_text("low 0\noom 3\noom_kill 2\n")
    assert oom_kills((tmp_path / "absent", two)) == 2
    assert oom_kills((tmp_path / "absent",)) is None


def test_metrics_are_handed_on_line_by_line(tmp_path: Path) -> None:
    """Each whole line is told once; a line still being written waits."""
    path = tmp_path / "metrics.jsonl"
    seen: list[dict[str, object]] = []
    tail = Tail(path, seen.append, skip_existing=False)
    tail.read()
    path.write_text('{"step": 1}\n{"step": 2}\n{"ste')
    tail.read()
    tail.read()
    assert seen == [{"step": 1}, {"step": 2}]
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n')
    tail.read()
    assert seen[-1] == {"step": 3}


def test_check_that_raises_ends_the_worker(tmp_path: Path) -> None:
    """An interrupted search leaves no worker behind."""

    def check() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        run_job(
            job(tmp_path),
            time_limit_seconds=30,
            server=Script("import time; time.sleep(60)"),
            check=check,
        )


def test_log_tail_is_the_last_lines_that_say_something(tmp_path: Path) -> None:
    """Blank lines and rulers are passed over, and what comes from the launcher on."""
    path = tmp_path / "worker.log"
    path.write_text("one\n\ntwo\nthree\n\nfour\n\n")
    assert log_tail(path) == ["two", "three", "four"]
    path.write_text("one\nValueError: no\nE1 elastic: failed\nTraceback\n=====\n")
    assert log_tail(path, 1) == ["Traceback"]
    assert log_tail(path, 1, until="elastic") == ["ValueError: no"]
    assert log_tail(tmp_path / "absent") == []
