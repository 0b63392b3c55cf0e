"""What the parent makes of workers that end badly; the workers are stand-ins but real processes."""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from tests.support import tiny
from tests.support.stand_in import Call, StandIn
from tsplanner.probe import stalls
from tsplanner.probe.runner import Tail, grace_seconds, run_job
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


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_signals_that_others_send_are_no_crash(tmp_path: Path, name: str) -> None:
    """A fault of the worker itself, such as SIGSEGV, is one."""
    code = "import os, signal as s; s.signal(s.{0}, s.SIG_DFL); os.kill(os.getpid(), s.{0})"
    found = run_job(job(tmp_path), time_limit_seconds=30, server=Script(code.format(name)))
    assert found.status is Status.KILLED
    assert name in found.message
    fault = run_job(job(tmp_path), time_limit_seconds=30, server=Script(code.format("SIGSEGV")))
    assert fault.status is Status.CRASHED


def test_a_worker_that_could_not_write_its_record_is_told_by_its_status(tmp_path: Path) -> None:
    """73 is what sysexits.h calls EX_CANTCREAT."""
    found = run_job(job(tmp_path), time_limit_seconds=30, server=Script("raise SystemExit(73)"))
    assert found.status is Status.NOT_WRITABLE
    assert f"could not write into {tmp_path / 'run'}" in found.message


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


STOPS_ITSELF = """
import os, pathlib, signal, sys
from tsplanner.training.pulse import Phase, Pulse
Pulse(pathlib.Path(sys.argv[1]).parent).enter(Phase.LOAD)
os.kill(os.getpid(), signal.SIGSTOP)
"""
STANDS_STILL = """
import pathlib, sys, time
from tsplanner.training import pulse
beats = pulse.Pulse(pathlib.Path(sys.argv[1]).parent)
beats.enter(pulse.Phase.STEP)
for _ in range(2):
    time.sleep(pulse.BETWEEN_SECONDS)
    beats.beat()
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("code", "words"),
    [(STOPS_ITSELF, "was stopped by a signal"), (STANDS_STILL, "in the phase step")],
)
def test_a_worker_that_stands_still_is_ended_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    """A limit of 1.5 s in place of a minute; the file of its beats is gone with it."""
    monkeypatch.setattr(stalls, "LEAST_SECONDS", 1.5)
    monkeypatch.setattr(stalls, "TIMES_LONGEST", 1.0)
    began = time.monotonic()
    found = run_job(job(tmp_path), time_limit_seconds=60, server=Script(code))
    assert time.monotonic() - began < 30
    assert found.status is Status.HUNG
    assert words in found.message
    assert re.search(r"the worker \(process \d+\) .*gave no sign of life for [12] s", found.message)
    assert list((tmp_path / "run").glob(".pulse*")) == []


def test_a_worker_whose_end_does_not_come_has_done_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record is whole: the run is what the record says."""
    monkeypatch.setattr(stalls, "LEAST_SECONDS", 0.5)
    record = Record(status=Status.OK, kind=JobKind.PROBE, steps=3)
    text = msgspec.json.encode(record).decode()
    code = (
        "import pathlib, sys, time\n"
        "from tsplanner.training.pulse import Phase, Pulse\n"
        "folder = pathlib.Path(sys.argv[1]).parent\n"
        f"(folder / 'record.json').write_text({text!r})\n"
        "Pulse(folder).enter(Phase.DONE)\ntime.sleep(60)"
    )
    assert run_job(job(tmp_path), time_limit_seconds=60, server=Script(code)) == record


def test_a_full_run_has_time_to_end_its_step_and_keep_it(tmp_path: Path) -> None:
    """5 s and two steps, a minute at most; trials and probes keep nothing."""
    found = job(tmp_path)
    for kind, step, seconds in (
        (JobKind.TRAIN, 10.0, 25.0),
        (JobKind.TRAIN, 300.0, 60.0),
        (JobKind.TRIAL, 10.0, 5.0),
        (JobKind.PROBE, 10.0, 5.0),
    ):
        plan = replace(found.plan, time=replace(found.plan.time, step_seconds=step))
        assert grace_seconds(replace(found, kind=kind, plan=plan)) == seconds
