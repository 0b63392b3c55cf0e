"""Child processes that end for sure: at a time limit, on Ctrl-C, on an error, with the parent."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from memory_models.frozen import frozen
from tsplanner.errors import TsplannerError
from tsplanner.identity import is_stopped
from tsplanner.own_files import open_log
from tsplanner.processes.tree import GRACE_SECONDS, GUARD, kill_group_remains, kill_tree

POLL_SECONDS = 0.2
LOOK_SECONDS = 0.02
"""Between two looks at whether a child has ended."""
STOPPED_SECONDS = 60.0
"""A child that a signal has stopped for so long is ended: it holds memory, and does nothing."""
LONGEST_LOOK_SECONDS = 2.0
"""What one look adds to that time at most: a parent that was itself stopped saw nothing."""
TEXT_VARIABLES = {"PYTHONIOENCODING": "utf-8:backslashreplace", "PYTHONUTF8": "1"}
"""A child writes its log in UTF-8 and opens files so, whatever the user's terminal can show."""


class ProcessStopped(TsplannerError):
    """A child stood still for too long, because a signal had stopped it."""


@frozen
class ProcessResult:
    """How a child ended."""

    exit_status: int | None
    """None for a child that a signal ended."""
    timed_out: bool
    """The child was ended because it reached its time limit."""
    stopped_by_signal: int | None
    """Number of the signal that ended the child; None for a child that exited."""
    seconds: float
    """Wall time of the child."""

    @property
    def ok(self) -> bool:
        """The child exited by itself with status 0."""
        return self.exit_status == 0 and not self.timed_out


def process_result(code: int, *, timed_out: bool, seconds: float) -> ProcessResult:
    """The result for a return code in Python's convention: ``-n`` for signal n."""
    return ProcessResult(
        exit_status=code if code >= 0 else None,
        timed_out=timed_out,
        stopped_by_signal=-code if code < 0 else None,
        seconds=seconds,
    )


def run_process(
    command: Sequence[str],
    *,
    log_path: Path,
    time_limit_seconds: float | None,
    poll: Callable[[], None] | None = None,
    poll_seconds: float = POLL_SECONDS,
    environment: Mapping[str, str] | None = None,
    grace_seconds: float = GRACE_SECONDS,
) -> ProcessResult:
    """Run a command in a session of its own and wait for it; output is appended to the log.

    ``poll`` is called every ``poll_seconds``; an exception in it ends the child and is raised.
    ``environment`` is added to that of this process. The child and its descendants are ended at
    the time limit (None: no limit), on KeyboardInterrupt, on any exception, and when this process
    is killed; ``grace_seconds`` is the time between TERM and KILL. Raises OSError for a command
    that cannot be started, and ProcessStopped for a child that a signal stopped for good.
    """
    start = time.monotonic()
    child = _start(command, log_path, environment)
    try:
        # This call is inside the try, so that Ctrl-C during the call ends the child, too.
        GUARD.watch(child.pid)
        timed_out = wait_until(
            lambda seconds: _ended_within(child, seconds),
            time_limit_seconds=time_limit_seconds,
            poll=unless_stopped(child.pid, poll),
            poll_seconds=poll_seconds,
        )
    finally:
        # KeyboardInterrupt and exceptions in poll lead here, too.
        if child.poll() is None:
            kill_tree(child.pid, grace_seconds, ended=lambda: child.poll() is not None)
        code = child.wait()
        # A child that ended by itself may leave others in its group, which nobody else would end.
        kill_group_remains(child.pid)
        GUARD.release(child.pid)
    return process_result(code, timed_out=timed_out, seconds=time.monotonic() - start)


def wait_until(
    ended_within: Callable[[float], bool],
    *,
    time_limit_seconds: float | None,
    poll: Callable[[], None] | None,
    poll_seconds: float,
) -> bool:
    """Wait for an end, polling; True where the time limit came first.

    ``ended_within`` waits up to a number of seconds and says whether the end came.
    """
    deadline = None if time_limit_seconds is None else time.monotonic() + time_limit_seconds
    while True:
        left = poll_seconds if deadline is None else deadline - time.monotonic()
        # The end is asked for before the limit: a child that ends in the last moment is in time.
        if ended_within(max(0.0, min(poll_seconds, left))):
            return False
        if deadline is not None and time.monotonic() >= deadline:
            return True
        if poll is not None:
            poll()


def unless_stopped(pid: int, poll: Callable[[], None] | None) -> Callable[[], None]:
    """``poll``, made to raise ProcessStopped once a signal has stopped a child for too long."""
    looked, stopped_for = time.monotonic(), 0.0

    def look() -> None:
        nonlocal looked, stopped_for
        if poll is not None:
            poll()
        now = time.monotonic()
        passed, looked = min(now - looked, LONGEST_LOOK_SECONDS), now
        # The child itself cannot say that it stands still, least of all before its first beat.
        stopped_for = stopped_for + passed if is_stopped(pid) else 0.0
        if stopped_for > STOPPED_SECONDS:
            raise ProcessStopped(
                f"process {pid} was stopped by a signal for {stopped_for:.0f} s; it was ended"
            )

    return look


def _start(
    command: Sequence[str], log_path: Path, environment: Mapping[str, str] | None
) -> subprocess.Popen[bytes]:
    """Start a child as the leader of a new session (Windows: of a new process group)."""
    with open_log(log_path) as log:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **TEXT_VARIABLES, **(environment or {})},
            start_new_session=sys.platform != "win32",
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )


def _ended_within(child: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the child ends within so many seconds.

    Popen's own wait takes a lock before the block that gives it back, so that a Ctrl-C between the
    two leaves it taken, and every later wait stands still. Looking at the child takes none.
    """
    if not hasattr(os, "waitid"):  # Windows, and macOS before Python 3.13
        try:
            child.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return False
        return True
    deadline = time.monotonic() + seconds
    while not _has_ended(child.pid):
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(LOOK_SECONDS, left))
    return True


def _has_ended(pid: int) -> bool:
    """Whether a child of this process has ended; its status stays for whoever asks for it."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    except ChildProcessError:  # somebody has asked for it
        return True
