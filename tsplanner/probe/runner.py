"""Start a worker in a process of its own and come back with one record, however it ended."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from memory_models.frozen import frozen
from tsplanner import runs
from tsplanner.own_files import open_descriptor, refuse_links
from tsplanner.planner.replan import own_process
from tsplanner.probe.launch import device_environment, worker_command
from tsplanner.probe.missing_record import (
    LOG_FILE,
    ended_badly,
    missing_record,
    oom_kills,
    write,
)
from tsplanner.probe.process_records import merged_record, remove_records
from tsplanner.probe.stalls import StallWatch, WorkerHung
from tsplanner.processes import ProcessResult, run_process
from tsplanner.processes.run import ProcessStopped
from tsplanner.processes.tree import GRACE_SECONDS
from tsplanner.training.job import Job, JobKind, Status
from tsplanner.training.record import Record
from tsplanner.trust import FLAG

JOB_FILE = "job.json"
METRICS_FILE = "metrics.jsonl"
STOP_FILE = "stop"

MOST_GRACE_SECONDS = 60.0
"""Longest wait for a full run that was interrupted; schedulers kill after half a minute or more."""

OnMetrics = Callable[[dict[str, Any]], None]


class Server(Protocol):
    """What runs workers: a warm server, or a stand-in."""

    def run(
        self,
        arguments: Sequence[str],
        *,
        log_path: Path,
        time_limit_seconds: float | None,
        poll: Callable[[], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> ProcessResult:
        """Run one worker to its end."""


def run_job(
    job: Job,
    *,
    time_limit_seconds: float | None,
    on_metrics: OnMetrics | None = None,
    server: Server | None = None,
    check: Callable[[], None] | None = None,
    environment: dict[str, str] | None = None,
) -> Record:
    """Run one job to its end and return its record (of all its ranks).

    ``on_metrics`` gets each line of metrics.jsonl as it appears. A worker that leaves no record
    gets one made from how its process ended and from the last lines of its log. ``check`` is
    called while waiting; what it raises ends the worker and is raised on. ``environment`` is added
    to the worker's, and goes before what the plan says of GPUs. A plan of several ranks always
    starts cold, for a warm server forks one process.
    """
    ranks = job.plan.hardware.sharding.world_size
    prepare(job)
    tail = Tail(Path(job.folder) / METRICS_FILE, on_metrics, skip_existing=job.resume)
    watch = StallWatch(Path(job.folder), job.plan.time.step_seconds)
    watch.forget()

    def poll() -> None:
        tail.read()
        if check is not None:
            check()
        watch.look()

    try:
        ended = start([job], time_limit_seconds, poll, server, environment)
    except (WorkerHung, ProcessStopped) as error:
        # A worker that has left its record did all its work; only its end did not come.
        record = record_of(job)
        return record or ended_badly(job, Status.HUNG, str(error))
    finally:
        watch.forget()
    tail.read()
    if ended.result.timed_out:
        return ended_badly(job, Status.TIMEOUT, f"stopped after {time_limit_seconds:.0f} s")
    record = record_of(job)
    if record is None:
        return missing_record(job, ended.result, ended.kills_before)
    # Later readers look at record.json alone, and until here that is the record of process 0.
    if ranks > 1:
        write(job, record)
    return record


def run_jobs(jobs: Sequence[Job], *, time_limit_seconds: float) -> list[Record]:
    """Run jobs one after the other in one worker, which keeps their base.

    All jobs use the ranks and GPUs of the first. A worker that dies leaves the jobs behind the one
    it died in to the next; so do ranks that end because one of them failed. Jobs that the time
    limit leaves no time for end with the status timeout.
    """
    deadline = time.monotonic() + time_limit_seconds
    records: list[Record] = []
    while left := list(jobs[len(records) :]):
        for job in left:
            prepare(job)
        ended = start(left, max(0.1, deadline - time.monotonic()))
        found = whole_records(left)
        records += found
        late = jobs[len(records) :]
        if ended.result.timed_out:
            return [*records, *(ended_badly(job, Status.TIMEOUT, "no time left") for job in late)]
        if late and not left_after_failure(left[0], found):
            records.append(missing_record(late[0], ended.result, ended.kills_before))
    return records


def record_of(job: Job) -> Record | None:
    """The record of all processes of a job; None as `merged_record`."""
    ranks = job.plan.hardware.sharding.world_size
    return merged_record(Path(job.folder), ranks, own_process(job.plan))


def whole_records(jobs: Sequence[Job]) -> list[Record]:
    """The records of the jobs up to the first that left none."""
    found: list[Record] = []
    for job in jobs:
        record = record_of(job)
        if record is None:
            break
        found.append(record)
    return found


def left_after_failure(job: Job, found: Sequence[Record]) -> bool:
    """Whether several ranks ended with a job that failed, before they began the next."""
    several = job.plan.hardware.sharding.world_size > 1
    return several and bool(found) and found[-1].status not in (Status.OK, Status.STOPPED)


@frozen
class Ended:
    """A worker that is over, and how many processes the kernel had killed before it."""

    result: ProcessResult
    kills_before: int | None


def prepare(job: Job) -> None:
    """The job's folder with job.json, and nothing of an earlier run that could be mistaken."""
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    refuse_links(folder)
    remove_records(folder, job.plan.hardware.sharding.world_size)
    (folder / STOP_FILE).unlink(missing_ok=True)
    if not job.resume:
        (folder / METRICS_FILE).unlink(missing_ok=True)
    runs.write_bytes(folder / JOB_FILE, msgspec.json.format(msgspec.json.encode(job)))


def start(
    jobs: Sequence[Job],
    time_limit_seconds: float | None,
    poll: Callable[[], None] | None = None,
    server: Server | None = None,
    environment: dict[str, str] | None = None,
) -> Ended:
    """Run a worker with these jobs of one plan's ranks and devices to its end."""
    plan, folder = jobs[0].plan, Path(jobs[0].folder)
    arguments = [str(Path(job.folder) / JOB_FILE) for job in jobs]
    if plan.model.trust_remote_code:  # the worker takes no trust from job.json, either
        arguments.append(FLAG)
    options: dict[str, Any] = {
        "log_path": folder / LOG_FILE,
        "time_limit_seconds": time_limit_seconds,
        "poll": poll,
        "environment": {**device_environment(plan), **(environment or {})} or None,
    }
    # The kernel's counter is of the whole cgroup and never falls: only its rise says something.
    kills = oom_kills()
    if server is not None and plan.hardware.sharding.world_size == 1:
        return Ended(result=server.run(arguments, **options), kills_before=kills)
    options["grace_seconds"] = grace_seconds(jobs[0])
    result = run_process(worker_command(plan.hardware, arguments), **options)
    return Ended(result=result, kills_before=kills)


def grace_seconds(job: Job) -> float:
    """Time that a worker has to end: a full run ends its step and writes a checkpoint."""
    if job.kind is not JobKind.TRAIN:
        return GRACE_SECONDS
    return min(MOST_GRACE_SECONDS, GRACE_SECONDS + 2 * job.plan.time.step_seconds)


def request_stop(folder: Path) -> None:
    """Ask the worker of a folder to end after the step at hand."""
    os.close(open_descriptor(folder / STOP_FILE, os.O_WRONLY | os.O_CREAT))


class Tail:
    """Reads the lines that a growing JSON-lines file has gained."""

    def __init__(self, path: Path, on_row: OnMetrics | None, *, skip_existing: bool) -> None:
        self.path = path
        self.on_row = on_row
        self.seen = len(runs.read_json_lines(path)) if skip_existing else 0

    def read(self) -> None:
        """Hand on what is new. A resumed worker shortens the file first; then it counts again."""
        if self.on_row is None or not self.path.is_file():
            return
        rows = runs.read_json_lines(self.path)
        self.seen = min(self.seen, len(rows))
        for row in rows[self.seen :]:
            self.seen += 1
            self.on_row(row)


def to_json(record: Record) -> dict[str, Any]:
    """A record as plain values."""
    value: dict[str, Any] = json.loads(msgspec.json.encode(record))
    return value
