"""Children that succeed, fail, hang and are killed: real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.children import SLEEP, gone, number_in, run
from tsplanner.processes import run as processes_run
from tsplanner.processes.run import (
    ProcessStopped,
    process_result,
    run_process,
    unless_stopped,
    wait_until,
)


def test_run_process_reports_success_and_keeps_output_in_the_log(tmp_path: Path) -> None:
    """A child's words, stdout and stderr, end up behind what the log held before."""
    (tmp_path / "child.log").write_text("before\n")
    result = run("import sys; print('out', flush=True); print('err', file=sys.stderr)", tmp_path)
    assert result.ok
    assert (result.exit_status, result.timed_out, result.stopped_by_signal) == (0, False, None)
    assert (tmp_path / "child.log").read_text() == "before\nout\nerr\n"


def test_run_process_reports_an_exception_as_status_1(tmp_path: Path) -> None:
    """A child that raises leaves its traceback in the log and status 1."""
    result = run("raise ValueError('bad row')", tmp_path)
    assert (result.exit_status, result.ok) == (1, False)
    assert "ValueError: bad row" in (tmp_path / "child.log").read_text()


def test_run_process_passes_on_added_environment(tmp_path: Path) -> None:
    """Variables given are added to the ones there are."""
    code = "import os; raise SystemExit(int(os.environ['RANKS']) + ('PATH' in os.environ))"
    assert run(code, tmp_path, environment={"RANKS": "6"}).exit_status == 7


def test_run_process_ends_a_child_at_its_time_limit(tmp_path: Path) -> None:
    """A child that hangs is ended at the limit, long before it would end."""
    result = run(SLEEP, tmp_path, time_limit_seconds=0.5)
    assert result.timed_out
    assert not result.ok
    assert 0.5 <= result.seconds < 10


def test_run_process_kills_a_child_that_ignores_being_asked(tmp_path: Path) -> None:
    """A child deaf to SIGTERM is killed after the grace."""
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
    result = run(deaf, tmp_path, time_limit_seconds=1.0, grace_seconds=0.5)
    assert result.timed_out
    assert result.stopped_by_signal == signal.SIGKILL


def test_run_process_names_the_signal_that_ended_a_child(tmp_path: Path) -> None:
    """A child killed from outside, as by the out-of-memory killer, is told from a failed one."""
    result = run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", tmp_path)
    assert result.exit_status is None
    assert result.stopped_by_signal == signal.SIGKILL
    assert not result.timed_out


def test_run_process_ends_the_child_when_poll_raises(tmp_path: Path) -> None:
    """An error in the caller's poll ends the child and reaches the caller."""
    pid_file = tmp_path / "pid"

    def poll() -> None:
        if pid_file.is_file() and pid_file.read_text():
            raise RuntimeError("stop")

    code = "import os, sys, pathlib; pathlib.Path(sys.argv[1]).write_text(str(os.getpid()));"
    with pytest.raises(RuntimeError, match="stop"):
        run(code + SLEEP, tmp_path, str(pid_file), poll=poll)
    assert gone(number_in(pid_file))


def test_run_process_ends_a_child_that_a_signal_has_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops itself before it has begun; 0.3 s stand for a minute, and nothing is left."""
    monkeypatch.setattr(processes_run, "STOPPED_SECONDS", 0.3)
    pid_file = tmp_path / "pid"
    code = (
        "import os, sys, signal, pathlib; pathlib.Path(sys.argv[1]).write_text(str(os.getpid()));"
        "os.kill(os.getpid(), signal.SIGSTOP)"
    )
    with pytest.raises(ProcessStopped, match=r"process \d+ was stopped by a signal for \d+ s; it"):
        run(code, tmp_path, str(pid_file), grace_seconds=0.5)
    assert gone(number_in(pid_file))


def test_a_pause_shorter_than_the_limit_ends_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped for 40 s and then for 60 s: only one second more in one piece is too long."""
    seconds = iter(range(0, 1000))
    monkeypatch.setattr(processes_run.time, "monotonic", lambda: float(next(seconds)))
    halted = iter([True] * 40 + [False] + [True] * 60 + [True])
    monkeypatch.setattr(processes_run, "is_stopped", lambda pid: next(halted))
    polls: list[int] = []
    look = unless_stopped(4711, lambda: polls.append(1))
    for _ in range(101):
        look()
    with pytest.raises(ProcessStopped, match="process 4711 was stopped by a signal for 61 s"):
        look()
    assert len(polls) == 102


@pytest.mark.parametrize(
    ("code", "status", "number", "ok"),
    [(0, 0, None, True), (3, 3, None, False), (-9, None, 9, False)],
)
def test_a_return_code_is_a_status_or_a_signal(
    code: int, status: int | None, number: int | None, ok: bool
) -> None:
    """Python writes a signal as a negative number; a run that hit its limit is never ok."""
    result = process_result(code, timed_out=False, seconds=1.0)
    assert (result.exit_status, result.stopped_by_signal, result.ok) == (status, number, ok)
    assert not process_result(code, timed_out=True, seconds=1.0).ok


def test_waiting_polls_until_the_end_or_the_limit() -> None:
    """The end comes at the third look; a limit of zero is reached at the first."""
    looks, polls = [], []

    def ended_within(seconds: float) -> bool:
        looks.append(seconds)
        return len(looks) == 3

    assert not wait_until(
        ended_within, time_limit_seconds=None, poll=lambda: polls.append(1), poll_seconds=0.01
    )
    assert (looks, len(polls)) == ([0.01] * 3, 2)
    assert wait_until(lambda _: False, time_limit_seconds=0.0, poll=None, poll_seconds=0.01)


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="no way to look at a child without a lock")
def test_waiting_takes_no_lock_that_ctrl_c_could_leave_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle of Popen's own wait left its lock taken, and the verb never ended."""

    def held(*_: object, **options: object) -> int:
        assert not options.get("timeout"), "Popen's own wait is interrupted while it has its lock"
        return whole(*_)  # type: ignore[arg-type]

    whole = subprocess.Popen.wait
    monkeypatch.setattr(subprocess.Popen, "wait", held)
    result = run_process(
        [sys.executable, "-c", "import time; time.sleep(0.3)"],
        log_path=tmp_path / "log",
        time_limit_seconds=30,
    )
    assert result.exit_status == 0
    assert 0.3 <= result.seconds < 10
