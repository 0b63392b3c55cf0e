"""Start a worker whose trials share a base; come back with a record of each trial that began."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from memory_models.frozen import frozen
from tsplanner.probe.missing_record import ended_badly
from tsplanner.probe.runner import JOB_FILE, METRICS_FILE, STOP_FILE, Server, run_job
from tsplanner.runs import read_json_lines
from tsplanner.training.job import Job, MultiLoraTrial, Status
from tsplanner.training.multi_lora.queue import QUEUE
from tsplanner.training.record import Record, parse_record, record_file

OnTrial = Callable[[str, dict[str, object]], None]
OnRecord = Callable[[str, Record], None]


@frozen
class MultiLoraRecords:
    """How a worker ended, and how each of its trials ended."""

    worker: Record
    trials: dict[str, Record]
    """Records by the trial's folder; a trial that never began has none."""


class Metrics:
    """Hands on new lines of the trials' metrics.jsonl, and the trials' records."""

    def __init__(
        self, job: Job, on_metrics: OnTrial | None, on_record: OnRecord | None = None
    ) -> None:
        self.job, self.on_metrics, self.on_record = job, on_metrics, on_record
        self.seen: dict[str, int] = {}
        self.ended: set[str] = set()

    def read(self) -> None:
        """Hand on what is new since the last call; a record comes after all lines of its trial."""
        under_way = [trial for trial in trials_of(self.job) if trial.folder not in self.ended]
        # Records are read first: no line follows a record that is there.
        records = {trial.folder: read_record(trial) for trial in under_way}
        self._read_lines(under_way)
        for folder, record in records.items():
            if record is not None:
                self.ended.add(folder)
                if self.on_record is not None:
                    self.on_record(folder, record)

    def _read_lines(self, trials: list[MultiLoraTrial]) -> None:
        if self.on_metrics is None:
            return
        for trial in trials:
            path = Path(trial.folder) / METRICS_FILE
            if not path.is_file():
                continue
            rows = read_json_lines(path)
            for row in rows[self.seen.get(trial.folder, 0) :]:
                self.on_metrics(trial.folder, row)
            self.seen[trial.folder] = len(rows)


def run_multi_lora(
    job: Job,
    *,
    time_limit_seconds: float | None,
    on_metrics: OnTrial | None = None,
    on_record: OnRecord | None = None,
    server: Server | None = None,
    check: Callable[[], None] | None = None,
    environment: dict[str, str] | None = None,
) -> MultiLoraRecords:
    """Run a worker whose trials share a base to its end.

    ``on_metrics`` gets the trial's folder and each line of its metrics.jsonl as the line appears,
    and ``on_record`` the record of a trial that has ended, while the others go on; ``check`` is
    called while waiting. A trial that was at work when the worker died gets a record that says how
    the worker ended.
    """
    _clear(job)
    metrics = Metrics(job, on_metrics, on_record)

    def poll() -> None:
        metrics.read()
        if check is not None:
            check()

    worker = run_job(
        job,
        time_limit_seconds=time_limit_seconds,
        server=server,
        check=poll,
        environment=environment,
    )
    metrics.read()
    found = {trial.folder: _record(job, trial, worker) for trial in trials_of(job)}
    return MultiLoraRecords(
        worker=worker, trials={folder: record for folder, record in found.items() if record}
    )


def _clear(job: Job) -> None:
    """Remove what an earlier worker left and could be mistaken for this one's."""
    shutil.rmtree(Path(job.folder) / QUEUE, ignore_errors=True)
    # Trials that come later are cleared by whoever offers them.
    for trial in first_trials(job):
        clear_trial(trial)


def clear_trial(trial: MultiLoraTrial) -> None:
    """Remove what an earlier run left in a trial's folder and could be mistaken for this one's."""
    for path in (record_file(Path(trial.folder), 0), *_left(trial)):
        path.unlink(missing_ok=True)


def _left(trial: MultiLoraTrial) -> tuple[Path, ...]:
    return tuple(Path(trial.folder) / name for name in (METRICS_FILE, STOP_FILE, JOB_FILE))


def first_trials(job: Job) -> tuple[MultiLoraTrial, ...]:
    """The trials that a job began with."""
    return job.shared.trials if job.shared is not None else ()


def trials_of(job: Job) -> list[MultiLoraTrial]:
    """The trials of the job and the trials that its queue has brought so far."""
    is_open = job.shared is not None and job.shared.open
    late = sorted((Path(job.folder) / QUEUE).glob("*.json")) if is_open else []
    return [
        *first_trials(job),
        *(msgspec.json.decode(path.read_bytes(), type=MultiLoraTrial) for path in late),
    ]


def _record(job: Job, trial: MultiLoraTrial, worker: Record) -> Record | None:
    """The record of a trial, else one made from how the worker ended; None if it never began."""
    if (left := read_record(trial)) is not None:
        return left
    began = (Path(trial.folder) / METRICS_FILE).exists()
    if not began or worker.status in (Status.OK, Status.STOPPED):
        return None
    # `ended_badly` writes the record into the folder of its job, and this one is the trial's.
    own = replace(job, folder=trial.folder, shared=None)
    return ended_badly(own, worker.status, worker.message)


def read_record(trial: MultiLoraTrial) -> Record | None:
    """The record that a trial has left; None if the trial has left none yet."""
    path = record_file(Path(trial.folder), 0)
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return parse_record(path.read_bytes())
    return None
