"""``tsplanner plan --probe``: the best few plans run for some steps, and the one that won."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tsplanner.commands.with_plan import cpu_threads, interactive
from tsplanner.planner.gather.probe_points import store
from tsplanner.planner.plan import Plan
from tsplanner.planner.probe_selection.corrected_candidates import corrected
from tsplanner.planner.rank import Choice, explained
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.probe.calibration import probe_point, step_seconds
from tsplanner.probe.rounds import MICRO_BATCHES, STEPS, Probed, measurements, search, settled
from tsplanner.probe.runner import METRICS_FILE, Tail, run_job, run_jobs
from tsplanner.report.probe_table import candidate_words, predicted_seconds, search_lines
from tsplanner.training.job import Job, JobKind, Record, Status

LOOK_SECONDS = 0.2
"""How often the bars are brought up to date."""
LEAST_SECONDS = 1.0
"""Given to a worker whose turn comes when the time is over: it ends in a record, not an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What the probes of a plan showed."""

    choice: Choice
    """The plan after them."""
    probed: tuple[Probed, ...]
    first: HardwareSettings
    """What would have been chosen without."""

    def lines(self) -> list[str]:
        """What was probed, as a table."""
        rows = [(each.plan, each.record) for each in self.probed]
        return search_lines(rows, chosen=self.choice.plan.hardware, first=self.first)

    def rows(self) -> list[dict[str, Any]]:
        """The same as plain values, in the order of the probes."""
        return [
            {
                "hardware": asdict(each.plan.hardware),
                "status": each.record.status,
                "message": each.record.message,
                "predicted_step_seconds": predicted_seconds(each.plan),
                "step_seconds": step_seconds(each.record),
                "predicted_process_bytes": asdict(each.plan.memory.process_bytes),
                "process_bytes": each.record.process_bytes,
                "host_bytes": each.record.host_bytes,
                "chosen": each.plan.hardware == self.choice.plan.hardware,
            }
            for each in self.probed
        ]


def proven(request: PlanRequest, choice: Choice, seconds: float, *, shown: bool) -> Proof:
    """Probe what may win within a budget of seconds, and choose anew.

    Raises:
        NoPlanFits: no candidate ran.
    """
    with tempfile.TemporaryDirectory(prefix="tsplanner-probe-") as folder:
        workers = Workers(Path(folder), shown=shown)
        done = search(request, choice.evaluated, workers, seconds)
    plan, best = settled(request, choice.evaluated, done)
    now = corrected(request, choice.evaluated, measurements(done))
    return Proof(
        choice=explained(plan, best, now, choice.refusals),
        probed=tuple(done),
        first=choice.plan.hardware,
    )


class Workers:
    """Runs plans in workers of their own kind, keeps every point, draws the bars."""

    def __init__(self, folder: Path, *, shown: bool) -> None:
        self.folder = folder
        self.shown = shown
        self.count = 0

    def __call__(self, plans: Sequence[Plan], time_limit_seconds: float) -> list[Record]:
        """One record a plan. Plans of one process on the same GPU share a worker and its base."""
        deadline = time.monotonic() + time_limit_seconds
        jobs = [self._job(plan) for plan in plans]
        records: dict[str, Record] = {}
        with step_bars(jobs, shown=self.shown):
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
    return [sorted(found, key=_base) for found in shared.values()]


def _base(job: Job) -> tuple[str, ...]:
    """What the base of a job is built by."""
    hardware = job.plan.hardware
    parts = (hardware.base.model_dtype, hardware.base.quantization, hardware.kernels.attention)
    return tuple(str(part) for part in parts)


def run_group(jobs: Sequence[Job], time_limit_seconds: float) -> list[Record]:
    """The records of jobs that share a worker."""
    if len(jobs) == 1:
        return [run_job(jobs[0], time_limit_seconds=time_limit_seconds)]
    return run_jobs(jobs, time_limit_seconds=time_limit_seconds)


@contextmanager
def step_bars(jobs: Sequence[Job], *, shown: bool) -> Iterator[None]:
    """A bar a probe for a person, a line each in a pipe, nothing for JSON."""
    if not shown:
        yield
        return
    titles = {job.folder: f"probe {Path(job.folder).name}  {title(job)}" for job in jobs}
    if not interactive():
        for words in titles.values():
            print(f"{words}  {STEPS} steps", flush=True)
        yield
        return
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed:.0f}/{task.total:.0f} steps"),
    )
    with Progress(*columns) as progress:

        def follower(words: str) -> Callable[[dict[str, Any]], None]:
            task = progress.add_task(words, total=STEPS)
            return lambda row: progress.update(task, completed=float(row.get("step") or 0))

        tails = [
            Tail(Path(folder) / METRICS_FILE, follower(words), skip_existing=False)
            for folder, words in titles.items()
        ]
        with followed(tails):
            yield


def title(job: Job) -> str:
    """A candidate by what is set for it."""
    return f"{job.plan.learning.method.finetuning_type} · {candidate_words(job.plan.hardware)}"


@contextmanager
def followed(tails: Sequence[Tail]) -> Iterator[None]:
    """Read these files beside the work: a worker of several jobs is waited for as one."""
    over = threading.Event()

    def follow() -> None:
        while not over.wait(LOOK_SECONDS):
            for tail in tails:
                tail.read()

    thread = threading.Thread(target=follow, daemon=True, name="probe-bars")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for tail in tails:
            tail.read()
