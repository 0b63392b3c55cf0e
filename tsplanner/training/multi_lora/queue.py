"""The trials that wait for a shared base: those of the job, then those that files bring."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tsplanner import runs
from tsplanner.training.job import Job, MultiLoraTrial, SharedTrials

QUEUE = "queue"
CLOSED = "closed"
"""A file of this name in the queue says that no more trials come."""


def offer(worker: Path, number: int, trial: MultiLoraTrial) -> None:
    """Queue one more trial for the worker of a folder; ``number`` gives the order."""
    (worker / QUEUE).mkdir(parents=True, exist_ok=True)
    path = worker / QUEUE / f"{number:06d}.json"
    # The worker may look at any moment, so the file appears whole, by a rename.
    runs.write_bytes(path, msgspec.json.format(msgspec.json.encode(trial)))


def close(worker: Path) -> None:
    """Tell the worker of a folder that no more trials come."""
    (worker / QUEUE).mkdir(parents=True, exist_ok=True)
    (worker / QUEUE / CLOSED).touch()


class Queue:
    """Hands out each trial once."""

    def __init__(self, job: Job) -> None:
        shared = job.shared or SharedTrials()
        self.waiting = list(shared.trials)
        self.folder = Path(job.folder) / QUEUE if shared.open else None
        self._seen: set[str] = set()

    def next(self) -> MultiLoraTrial | None:
        """The next trial, or None if none waits now."""
        if not self.waiting:
            self._look()
        return self.waiting.pop(0) if self.waiting else None

    @property
    def ended(self) -> bool:
        """Whether no trial waits and none will come."""
        if self.waiting:
            return False
        if self.folder is None:
            return True
        closed = (
            self.folder / CLOSED
        ).exists()  # asked first, so that the look below sees all that came before
        self._look()
        return closed and not self.waiting

    def _look(self) -> None:
        if self.folder is None or not self.folder.is_dir():
            return
        for path in sorted(self.folder.glob("*.json")):
            if path.name not in self._seen:
                self._seen.add(path.name)
                self.waiting.append(msgspec.json.decode(path.read_bytes(), type=MultiLoraTrial))
