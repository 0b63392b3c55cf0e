"""``plan --probe``: the best few plans run for some steps, and the one that won."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from memory_models.frozen import frozen
from tsplanner.planner.gather.probe_points import store
from tsplanner.planner.plan import Plan
from tsplanner.planner.probe_selection.corrected_candidates import corrected
from tsplanner.planner.rank import Choice, explained
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.probe.calibration import probe_point
from tsplanner.probe.launch import cpu_threads
from tsplanner.probe.rounds import MICRO_BATCHES, STEPS, Probed, measurements, search, settled
from tsplanner.probe.runner import run_job, run_jobs
from tsplanner.training.job import Job, JobKind, Status
from tsplanner.training.record import Record

LEAST_SECONDS = 1.0
"""Given to a worker whose turn comes when the time is over: it ends in a record, not an error."""


@frozen
class Proof:
    """What the probes of a plan showed."""

    choice: Choice
    """The plan after them."""
    probed: tuple[Probed, ...]
    first: HardwareSettings
    """What would have been chosen without."""


Watched = Callable[[Sequence[Job]], AbstractContextManager[None]]
"""Shows the progress of jobs while they run."""


def proven(request: PlanRequest, choice: Choice, seconds: float, watched: Watched) -> Proof:
    """Probe what may win within a budget of seconds, and choose anew.

    Raises:
        NoPlanFits: no candidate ran.
    """
    with tempfile.TemporaryDirectory(prefix="tsplanner-probe-") as folder:
        workers = Workers(Path(folder), watched)
        done = search(request, choice.evaluated, workers, seconds)
    plan, best = settled(request, choice.evaluated, done)
    now = corrected(request, choice.evaluated, measurements(done))
    return Proof(
        choice=explained(request, plan, best, now, choice.refusals),
        probed=tuple(done),
        first=choice.plan.hardware,
    )


class Workers:
    """Runs plans in workers of their own kind, and keeps every point."""

    def __init__(self, folder: Path, watched: Watched) -> None:
        self.folder = folder
        self.watched = watched
        self.count = 0

    def __call__(self, plans: Sequence[Plan], time_limit_seconds: float) -> list[Record]:
        """One record a plan. Plans of one process on the same GPU share a worker and its base."""
        deadline = time.monotonic() + time_limit_seconds
        jobs = [self._job(plan) for plan in plans]
        records: dict[str, Record] = {}
        with self.watched(jobs):
            for group in groups(jobs):
                left = max(LEAST_SECONDS, deadline - time.monotonic())
                records |= {
                    job.folder: record
                    for job, record in zip(group, run_group(group, left), strict=True)
                }
        found = [records[job.folder] for job in jobs]
        for plan, record in zip(plans, found, strict=True):
            if record.status is Status.OK:
                store(probe_point(plan, record))
        return found

    def _job(self, plan: Plan) -> Job:
        self.count += 1
        return Job(
            kind=JobKind.PROBE,
            plan=plan,
            folder=str(self.folder / str(self.count)),
            probe_steps=STEPS,
            probe_micro_batches=MICRO_BATCHES,
            threads=cpu_threads(plan),
        )


def groups(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs that can share a worker: one process on the same GPU, those of one base together."""
    shared: dict[tuple[object, ...], list[Job]] = {}
    for job in jobs:
        hardware = job.plan.hardware
        alone = hardware.sharding.world_size > 1 or hardware.sharding.zero_stage > 0
        key = (job.folder,) if alone else hardware.devices
        shared.setdefault(key, []).append(job)
    # A worker keeps its base for the next job, so jobs of one base have to follow each other.
    return [sorted(found, key=_base) for found in shared.values()]


def _base(job: Job) -> tuple[str, ...]:
    """What the base of a job is built by."""
    hardware = job.plan.hardware
    parts = (
        hardware.streaming.streams,
        hardware.base.model_dtype,
        hardware.base.quantization,
        hardware.kernels.attention,
    )
    return tuple(str(part) for part in parts)


def run_group(jobs: Sequence[Job], time_limit_seconds: float) -> list[Record]:
    """The records of jobs that share a worker."""
    if len(jobs) == 1:
        return [run_job(jobs[0], time_limit_seconds=time_limit_seconds)]
    return run_jobs(jobs, time_limit_seconds=time_limit_seconds)
