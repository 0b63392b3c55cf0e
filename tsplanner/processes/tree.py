"""Ends processes with everything they started, and outlives a parent that is killed.

Run as a program it is the guard: it reads ``+pid`` and ``-pid`` lines from a pipe whose other end
only the parent holds. When the parent is gone, however it went, the pipe closes and the guard ends
what is still on its list. A pipe works where a death signal would not: for grandchildren in
sessions of their own (torchrun's ranks), for threads that start children, and off Linux.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

GRACE_SECONDS = 5.0
"""Between asking a tree to end and killing it."""


def kill_tree(
    pid: int,
    grace_seconds: float = GRACE_SECONDS,
    ended: Callable[[], bool] | None = None,
) -> None:
    """End a process group leader and all its descendants: TERM, then KILL after the grace.

    ``ended`` says whether the leader itself is gone, for whoever has to reap it. Raises nothing
    for processes that are gone. Ignores: descendants that left both the group and the family.
    """
    tree = _tree(pid)
    _signal_group(pid, hard=False)
    for process in tree:
        _end(process, hard=False)
    deadline = time.monotonic() + grace_seconds
    while time.monotonic() < deadline:
        if (ended is None or ended()) and not any(_alive(process) for process in tree):
            break
        time.sleep(0.02)
    # What was started while the others were ending is caught here.
    for process in {*tree, *_tree(pid)}:
        _end(process, hard=True)
    _signal_group(pid, hard=True)


def kill_group_remains(pid: int) -> None:
    """Kill what an ended group leader left running in its group. Raises nothing."""
    _signal_group(pid, hard=True)


def _tree(pid: int) -> list[Any]:
    """The process and its descendants, as psutil sees them now."""
    import psutil

    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def _alive(process: Any) -> bool:
    """Whether a process still runs; one that only waits to be reaped does not."""
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _end(process: Any, *, hard: bool) -> None:
    import psutil

    with suppress(psutil.Error):
        if hard:
            process.kill()
        else:
            process.terminate()


def _signal_group(pid: int, *, hard: bool) -> None:
    """Signal a process group; on Windows, which has none, the tree has to do."""
    if sys.platform != "win32":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL if hard else signal.SIGTERM)


class Guard:
    """Handle to this process's guard program, started when the first child is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._program: subprocess.Popen[bytes] | None = None

    def watch(self, pid: int) -> None:
        """End this process's tree if the parent goes away first."""
        self._write(f"+{pid}\n")

    def release(self, pid: int) -> None:
        """Forget a process that has ended."""
        self._write(f"-{pid}\n")

    def _write(self, line: str) -> None:
        with self._lock:
            if self._program is None or self._program.poll() is not None:
                if line.startswith("-"):
                    return
                self._program = self._start()
            pipe = self._program.stdin
            if pipe is not None:
                # A guard that somebody killed must not take a training run with it.
                with suppress(OSError):
                    pipe.write(line.encode())
                    pipe.flush()

    @staticmethod
    def _start() -> subprocess.Popen[bytes]:
        flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        return subprocess.Popen(
            [sys.executable, "-P", os.path.abspath(__file__)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            creationflags=flags,
        )


GUARD = Guard()
"""One for the whole program."""


def guard() -> None:
    """Read the list until the parent is gone, then end what is on it."""
    watched: set[int] = set()
    for line in sys.stdin:
        sign, pid = line[:1], int(line[1:])
        if sign == "+":
            watched.add(pid)
        else:
            watched.discard(pid)
    threads = [threading.Thread(target=kill_tree, args=(pid,)) for pid in watched]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    guard()
