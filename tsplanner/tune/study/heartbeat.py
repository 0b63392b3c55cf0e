"""Who works on a study, and who of them is gone.

Each process puts its name on the trials it takes and says every BEAT_SECONDS that it lives. One of
the same host is gone when its process is; one of another host when its beat has not changed for
GONE_SECONDS of the observer's own clock, so that clocks need not agree. A trial of one that is gone
goes back to the queue, exactly once, by whoever sees it first.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

BEAT_SECONDS = 10.0
GONE_SECONDS = 60.0
KEY = "worker "
"""Of a worker's study attribute, before its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A process that works on a study."""

    name: str
    """``host:pid``; ``#2`` behind it where another host of that name had the number before."""
    host: str
    """Which kernel and process namespace the number is of."""
    pid: int
    started: str
    """When the process began, as its system says."""
    beat: int = 0
    left: bool = False
    """It ended in good order."""

    def same(self, other: Member) -> bool:
        """Whether both are one process."""
        return (self.host, self.pid, self.started) == (other.host, other.pid, other.started)


@functools.cache
def host_identity() -> str:
    """This host as far as process ids go: name, boot and process namespace."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8])
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def started_at(pid: int) -> str | None:
    """When a process of this host began; None for one that is gone or waits to be reaped."""
    if sys.platform.startswith("linux"):
        try:
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


def this_process() -> Member:
    """The process that asks."""
    pid = os.getpid()
    return Member(
        name=f"{socket.gethostname()}:{pid}",
        host=host_identity(),
        pid=pid,
        started=started_at(pid) or "",
    )


class Crew:
    """The workers of one study, as its attributes tell."""

    def __init__(
        self,
        read: Callable[[], dict[str, Any]],
        write: Callable[[str, Any], None],
        *,
        gone_seconds: float = GONE_SECONDS,
    ) -> None:
        """``read`` gives the study's attributes and ``write`` sets one of them."""
        self._read, self._write, self.gone_seconds = read, write, gone_seconds
        self._beats: dict[str, tuple[int, float]] = {}
        """Newest beat seen of each worker, and when it was first seen."""
        self._stop = threading.Event()
        self._entered = False
        self.me = this_process()

    def enter(self) -> None:
        """Make this process known; once. To be called under the study's lock."""
        if self._entered:
            return
        base, number = self.me.name, 1
        known = self.members()
        while (other := known.get(self.me.name)) is not None and not other.same(self.me):
            number += 1
            self.me = replace(self.me, name=f"{base}#{number}")
        self._say()
        self._entered = True
        threading.Thread(target=self._beating, name="beat", daemon=True).start()

    def leave(self) -> None:
        """Say that this process is done; never raises."""
        self._stop.set()
        if self._entered:
            self._entered = False
            self.me = replace(self.me, left=True)
            with contextlib.suppress(Exception):  # the others will see the process gone
                self._say()

    def members(self) -> dict[str, Member]:
        """Every worker that ever entered, by name."""
        found = (value for key, value in self._read().items() if key.startswith(KEY))
        return {member.name: member for member in (Member(**value) for value in found)}

    def gone(self, name: str | None) -> bool:
        """Whether a worker will not come back."""
        member = None if name is None else self.members().get(name)
        if member is None or member.left:
            return True
        if member.host == self.me.host:
            return started_at(member.pid) != member.started
        now = time.monotonic()
        beat, since = self._beats.get(member.name, (-1, now))
        if beat != member.beat:
            self._beats[member.name] = member.beat, now
            return False
        return now - since > self.gone_seconds

    def forget_beats(self) -> None:
        """Count silence anew: the study itself could not be reached."""
        self._beats.clear()

    def _beating(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            self.me = replace(self.me, beat=self.me.beat + 1)
            with contextlib.suppress(
                Exception
            ):  # the search itself tells of a storage that is gone
                self._say()

    def _say(self) -> None:
        self._write(f"{KEY}{self.me.name}", asdict(self.me))
