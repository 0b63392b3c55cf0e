"""Ends processes together with their descendants, even after the parent was killed.

Run as a program, this module is the guard. The guard reads ``+pid`` and ``-pid`` lines from a pipe
whose other end only the parent holds. However the parent ends, the pipe closes, and the guard ends
the processes that are still on its list. A death signal would not reach grandchildren in sessions
of their own (torchrun's ranks), fails for children of threads, and exists on Linux only.
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
"""Time between TERM and KILL."""


def kill_tree(
    pid: int,
    grace_seconds: float = GRACE_SECONDS,
    ended: Callable[[], bool] | None = None,
) -> None:
    """End a process group leader and all its descendants: TERM, then KILL after the grace.

    ``ended`` says whether the leader has ended, for a caller that reaps it. Raises nothing for
    processes that have ended. Ignores: descendants that left both the group and the tree.
    """
    # The tree is read before the first signal: a child whose parent has ended is not in it.
    tree = _tree(pid)
    _signal_group(pid, hard=False)
    # A descendant may lead a group of its own, which the signal above misses (torchrun's do).
    for process in tree:
        _end(process, hard=False)
    deadline = time.monotonic() + grace_seconds
    while time.monotonic() < deadline:
        if (ended is None or ended()) and not any(_alive(process) for process in tree):
            break
        time.sleep(0.02)
    # The tree is read again, because a process may have started others while it was ending.
    for process in {*tree, *_tree(pid)}:
        _end(process, hard=True)
    _signal_group(pid, hard=True)


def kill_group_remains(pid: int) -> None:
    """Kill the processes that an ended group leader left in its group. Raises nothing."""
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
    """Whether a process still runs; a zombie does not."""
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
    """Signal a process group; Windows has no groups, and there this does nothing."""
    if sys.platform != "win32":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL if hard else signal.SIGTERM)


class Guard:
    """Handle to the guard program of this process, which starts with the first child."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._program: subprocess.Popen[bytes] | None = None
        self._watched: set[int] = set()

    def watch(self, pid: int) -> None:
        """End the tree of ``pid`` if the parent ends first."""
        with self._lock:
            self._watched.add(pid)
            if self._program is None or self._program.poll() is not None:
                # A guard that was killed took its list along, so its successor gets all of it.
                self._program = self._start()
                self._write("".join(f"+{each}\n" for each in sorted(self._watched)))
            else:
                self._write(f"+{pid}\n")

    def release(self, pid: int) -> None:
        """Forget a process that has ended."""
        with self._lock:
            self._watched.discard(pid)
            self._write(f"-{pid}\n")

    def _write(self, lines: str) -> None:
        pipe = None if self._program is None else self._program.stdin
        if pipe is not None:
            # A guard that was killed must not end a training run.
            with suppress(OSError):
                pipe.write(lines.encode())
                pipe.flush()

    @staticmethod
    def _start() -> subprocess.Popen[bytes]:
        flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        return subprocess.Popen(
            # Without -P, imports would be looked for in this folder before the standard library.
            [sys.executable, "-P", os.path.abspath(__file__)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # The guard has to outlive a signal to the parent's group, such as Ctrl-C.
            start_new_session=True,
            creationflags=flags,
        )


GUARD = Guard()
"""The one guard of the whole program."""


def guard() -> None:
    """Read the list until the parent has ended, then end the processes on it."""
    watched: set[int] = set()
    for line in sys.stdin:
        sign, pid = line[:1], int(line[1:])
        if sign == "+":
            watched.add(pid)
        else:
            watched.discard(pid)
    # One after another, each tree could use up its grace before the next tree is asked to end.
    threads = [threading.Thread(target=kill_tree, args=(pid,)) for pid in watched]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    guard()
