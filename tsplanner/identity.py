"""Which process it is, on which host, and whether it still lives.

A process id alone says little: the system gives the number of a process that ended to another one,
and containers and hosts that share a folder count their processes for themselves.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from pathlib import Path

from memory_models.frozen import frozen


@frozen
class ProcessIdentity:
    """One process of one host, told apart from every other that had or will have its number."""

    node: str
    """Name of the host, for a person."""
    host: str
    """The kernel and process namespace that the process id belongs to."""
    pid: int
    started: str
    """When the process began, as its system says."""


def node_name() -> str:
    """Name of this host."""
    if hasattr(os, "uname"):
        return os.uname().nodename
    import socket  # Windows has no uname, and nothing else needs the module

    return socket.gethostname()


@functools.cache
def process_space() -> str:
    """Name and process namespace of this host, which stay the same when it starts again."""
    parts = [node_name()]
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


@functools.cache
def host_identity() -> str:
    """Identity of this host as far as process ids go: name, boot and process namespace."""
    name, *namespace = process_space().split(" ")
    boot = []
    with contextlib.suppress(OSError):
        boot.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8])
    return " ".join([name, *boot, *namespace])


def started_at(pid: int) -> str | None:
    """When a process of this host began; None if it is gone or waits to be reaped."""
    if sys.platform.startswith("linux"):
        try:
            # The process's name stands in brackets before these fields, and the name itself
            # may hold blanks and brackets.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]  # ticks after boot: no clock moves them
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.0f}"
    except psutil.Error:
        return None


def is_stopped(pid: int) -> bool:
    """Whether a signal has stopped a process of this host; one that is debugged is not."""
    if sys.platform.startswith("linux"):
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        except (OSError, IndexError):
            return False
    import psutil

    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


def this_process() -> ProcessIdentity:
    """The process that asks."""
    pid = os.getpid()
    return ProcessIdentity(
        node=node_name(), host=host_identity(), pid=pid, started=started_at(pid) or ""
    )


def lives_here(host: str, pid: int, started: str) -> bool | None:
    """Whether a process of this host still runs; None for a process of another host."""
    return started_at(pid) == started if host == host_identity() else None


LONGEST_LOOK_SECONDS = 30.0
"""What one look adds to a silence at most: an observer that was itself stopped saw nothing."""


class Silence:
    """How long counters that others keep raising have stood still, by this process's own clock."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float, float]] = {}
        """Per name: the count, the seconds it stood still, and the time of the last look."""

    def seconds(self, name: str, count: int) -> float:
        """Seconds that ``count`` has not changed; the first look at a name gives 0."""
        now = time.monotonic()
        known, silent, looked = self._seen.get(name, (None, 0.0, now))
        silent = silent + min(now - looked, LONGEST_LOOK_SECONDS) if known == count else 0.0
        self._seen[name] = count, silent, now
        return silent

    def forget(self) -> None:
        """Start to count anew, because the counters themselves could not be read."""
        self._seen.clear()
