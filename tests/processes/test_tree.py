"""The end of a whole tree of processes, at a limit or with the parent."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.children import BREED, SLEEP, gone, number_in, run, wait_for
from tsplanner.processes.tree import Guard, kill_group_remains, kill_tree


@pytest.mark.parametrize("session", [False, True])
def test_run_process_ends_grandchildren_at_the_limit(tmp_path: Path, session: bool) -> None:
    """Ranks started by a launcher end with it, also in sessions of their own as torchrun's."""
    pid_file = tmp_path / "pid"
    result = run(
        BREED.replace("SESSION", str(session)), tmp_path, str(pid_file), time_limit_seconds=2.0
    )
    assert result.timed_out
    assert wait_for(lambda: gone(number_in(pid_file)))


def test_run_process_leaves_nobody_behind_a_child_that_ends(tmp_path: Path) -> None:
    """What a child forgot to end does not outlive it."""
    code = BREED.replace("SESSION", "False").replace("child.wait()", "")
    assert run(code, tmp_path, str(tmp_path / "pid")).ok
    assert wait_for(lambda: gone(number_in(tmp_path / "pid")))


PARENT = """
import pathlib, sys
from tsplanner.processes import run_process
code = "import os, sys, time, pathlib; pathlib.Path(sys.argv[1]).write_text(str(os.getpid()));"
try:
    run_process([sys.executable, "-c", code + "time.sleep(60)", sys.argv[1]],
                log_path=pathlib.Path(sys.argv[1] + ".log"), time_limit_seconds=60)
except KeyboardInterrupt:
    raise SystemExit(130)
"""


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -15), (signal.SIGKILL, -9)]
)
def test_a_child_ends_with_its_parent(tmp_path: Path, number: int, status: int) -> None:
    """Ctrl-C, a scheduler's TERM and a KILL of the program all end the training it started."""
    pid_file = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(pid_file)])
    try:
        child = number_in(pid_file)
        parent.send_signal(number)
        assert parent.wait(timeout=20) == status
        assert wait_for(lambda: gone(child))
    finally:
        parent.kill()
        parent.wait()


def test_a_tree_is_ended_by_its_leaders_number(tmp_path: Path) -> None:
    """Both generations, one of them in a session of its own; a number of nobody is no error."""
    pid_file = tmp_path / "pid"
    leader = subprocess.Popen(
        [sys.executable, "-c", BREED.replace("SESSION", "True"), str(pid_file)],
        start_new_session=True,
    )
    child = number_in(pid_file)
    kill_tree(leader.pid, 0.2, ended=lambda: leader.poll() is not None)
    assert leader.wait(timeout=10) in (-signal.SIGTERM, -signal.SIGKILL)
    assert wait_for(lambda: gone(child))
    kill_tree(leader.pid, 0.0)
    kill_group_remains(leader.pid)


def test_a_guard_forgets_what_it_is_told_to_forget(tmp_path: Path) -> None:
    """At the end of its list it ends what is still on the list."""
    kept, ended = (
        subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True) for _ in range(2)
    )
    try:
        listed = f"+{kept.pid}\n+{ended.pid}\n-{kept.pid}\n"
        subprocess.run(
            [sys.executable, "-c", "from tsplanner.processes.tree import guard; guard()"],
            input=listed,
            text=True,
            check=True,
            timeout=20,
        )
        assert ended.wait(timeout=10) == -signal.SIGTERM
        assert kept.poll() is None
    finally:
        kept.kill()
        kept.wait()


def test_a_guard_that_was_killed_is_started_again_with_all_that_it_watched() -> None:
    """Three children: one from before the kill, one that is over, one from after it."""
    program = Guard()
    program.release(1)
    assert program._program is None
    before, over, after = (
        subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True) for _ in range(3)
    )
    try:
        program.watch(before.pid)
        program.watch(over.pid)
        program.release(over.pid)
        first = program._program
        assert first is not None
        first.kill()
        first.wait()
        program.watch(after.pid)
        second = program._program
        assert second is not None
        assert second.pid != first.pid
        assert second.stdin is not None
        second.stdin.close()
        assert before.wait(timeout=10) == after.wait(timeout=10) == -signal.SIGTERM
        assert over.poll() is None
        second.wait(timeout=10)
    finally:
        for child in (before, over, after):
            child.kill()
            child.wait()
