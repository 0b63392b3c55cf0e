"""The workers of a study, and which of them are gone.

Each process writes its name on the trials it claims and gives a heartbeat every HEARTBEAT_SECONDS.
A worker of the same host is gone when its process is gone; any worker is gone when its heartbeat
has not changed for GONE_SECONDS of the observer's own clock, so that clocks need not agree. The
trial of a worker that is gone is queued again, exactly once, by the first worker that notices.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from memory_models.frozen import frozen
from tsplanner import identity
from tsplanner.identity import Silence, is_stopped, lives_here

HEARTBEAT_SECONDS = 10.0
GONE_SECONDS = 60.0
KEY = "worker "
"""First part of the study attribute of a worker; the worker's name follows."""
EARLIER_FIELDS = {"beat": "heartbeat"}
"""Fields as an earlier version wrote them into studies."""


@frozen
class Worker:
    """A process that works on a study."""

    name: str
    """``host:pid``; ``#2`` follows where another host of that name used the number before."""
    host: str
    """The kernel and process namespace that the process id belongs to."""
    pid: int
    started: str
    """When the process began, as its system says."""
    heartbeat: int = 0
    """A count that grows while the process lives."""
    left: bool = False
    """The process ended in good order."""

    def is_same_process(self, other: Worker) -> bool:
        """Whether both records are of one process."""
        return (self.host, self.pid, self.started) == (other.host, other.pid, other.started)


def this_process() -> Worker:
    """The process that asks, as a worker."""
    me = identity.this_process()
    return Worker(name=f"{me.node}:{me.pid}", host=me.host, pid=me.pid, started=me.started)


class WorkerRegistry:
    """The workers of one study, as the study's attributes list them."""

    def __init__(
        self,
        read: Callable[[], dict[str, Any]],
        write: Callable[[str, Any], None],
        *,
        gone_seconds: float = GONE_SECONDS,
    ) -> None:
        """``read`` gives the study's attributes and ``write`` sets one of them."""
        self._read, self._write, self.gone_seconds = read, write, gone_seconds
        self._silence = Silence()
        self._stop = threading.Event()
        self._entered = False
        self.me = this_process()

    def enter(self) -> None:
        """Make this process known, once. The caller holds the study's lock."""
        if self._entered:
            return
        base, number = self.me.name, 1
        known = self.workers()
        # A trial notes the name alone, so two processes of one name would take each
        # other's trials for their own.
        while (other := known.get(self.me.name)) and not other.is_same_process(self.me):
            number += 1
            self.me = replace(self.me, name=f"{base}#{number}")
        self._write_me()
        self._entered = True
        threading.Thread(target=self._give_heartbeats, name="heartbeat", daemon=True).start()

    def leave(self) -> None:
        """Note that this process is done; never raises."""
        self._stop.set()
        if self._entered:
            self._entered = False
            self.me = replace(self.me, left=True)
            with contextlib.suppress(Exception):  # the other workers will see the process gone
                self._write_me()

    def workers(self) -> dict[str, Worker]:
        """Every worker that ever entered, by name."""
        found = (value for key, value in self._read().items() if key.startswith(KEY))
        return {worker.name: worker for worker in map(_worker, found) if worker is not None}

    def is_gone(self, name: str | None) -> bool:
        """Whether a worker will not come back; an unknown worker will not."""
        worker = self.workers().get(name) if isinstance(name, str) else None
        if worker is None or worker.left:
            return True
        # The system may have given a dead worker's number to a new process, which began later.
        if lives_here(worker.host, worker.pid, worker.started) is False:
            return True
        return self._is_silent(worker)

    def frozen(self, name: str | None) -> Worker | None:
        """The worker, if it is a process of this host that exists and gives no sign of life."""
        worker = None if name is None else self.workers().get(name)
        if worker is None or worker.left:
            return None
        here = lives_here(worker.host, worker.pid, worker.started)
        return worker if here and self._is_silent(worker) else None

    def stopped(self) -> list[Worker]:
        """The other workers on this host that exist and that a signal has stopped."""
        return [
            worker
            for worker in self.workers().values()
            if not worker.left
            and not worker.is_same_process(self.me)
            and lives_here(worker.host, worker.pid, worker.started)
            and is_stopped(worker.pid)
        ]

    def _is_silent(self, worker: Worker) -> bool:
        # This process knows of itself that it lives, also where no heartbeat can be written.
        if worker.is_same_process(self.me):
            return False
        return self._silence.seconds(worker.name, worker.heartbeat) > self.gone_seconds

    def forget_heartbeats(self) -> None:
        """Start to count silence anew, because the study itself could not be reached."""
        self._silence.forget()

    def _give_heartbeats(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            self.me = replace(self.me, heartbeat=self.me.heartbeat + 1)
            # The search itself reports a storage that is away.
            with contextlib.suppress(Exception):
                self._write_me()

    def _write_me(self) -> None:
        self._write(f"{KEY}{self.me.name}", asdict(self.me))


def _worker(stored: Any) -> Worker | None:
    """A worker as a study stores it; None for a damaged one, which counts as gone."""
    import msgspec

    try:
        named = {EARLIER_FIELDS.get(key, key): value for key, value in stored.items()}
        return msgspec.convert(named, Worker)
    except (msgspec.ValidationError, AttributeError):
        return None
