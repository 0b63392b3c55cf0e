"""A search of the tiny plan with stand-in workers, which write real files and train nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.support import tiny
from tests.support.multi_lora_worker import MARKS, MultiLoraWorker, Trial
from tests.support.stand_in import Call, StandIn, over
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import LearningSettings
from tsplanner.processes import ProcessResult
from tsplanner.training.job import Job, Status
from tsplanner.tune.runner.multi_lora import MultiLora
from tsplanner.tune.runner.runner import Search
from tsplanner.tune.runner.slots import Slots
from tsplanner.tune.search.encoding import encode_space
from tsplanner.tune.search.space import Space
from tsplanner.tune.study.study import Result, Study

SPACE = Space(lora_ranks=(4, 8, 16), learning_rate=(1e-4, 1e-2), epochs=(1, 2, 3))


class View:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.results: list[Result] = []

    def started(self, number: int, learning: LearningSettings) -> None:
        """A trial has begun."""
        self.begun.append(number)

    def progressed(self, number: int, progress: float, eval_loss: float | None) -> None:
        """A trial moved on."""

    def ended(self, result: Result) -> None:
        """A trial is over."""
        self.results.append(result)

    def released(self, number: int, message: str) -> None:
        """A trial waits to be run again."""


class Worker(StandIn):
    """Answers a job at once: six evaluations whose loss depends on the settings alone."""

    def __init__(
        self, loss: Callable[[Job], float], status: Status = Status.OK, message: str = "boom"
    ) -> None:
        self.loss, self.status, self.message = loss, status, message
        self.jobs: list[Job] = []
        self.visible: set[str | None] = set()

    def answer(self, call: Call) -> ProcessResult:
        """Write metrics evaluation by evaluation until asked to stop, then the record."""
        job, status = call.job, self.status
        self.jobs.append(job)
        self.visible.add(call.environment.get("CUDA_VISIBLE_DEVICES"))
        trial = Trial(Path(job.folder), job.plan.learning, 0.0, kind=job.kind)
        for _ in range(MARKS) if status is Status.OK else ():
            trial.loss = self.loss(job)
            trial.advance()
            call.poll()
            if (trial.folder / "stop").exists():
                status = Status.STOPPED
                break
        trial.end(status, self.message)
        return over()


def by_rank(job: Job) -> float:
    """Larger ranks are better."""
    return 1.0 / job.plan.learning.method.lora_rank


def search(
    folder: Path,
    plan: Plan,
    worker: Worker,
    *,
    jobs: int = 1,
    devices: tuple[str, ...] = (),
    most_rank: int = 99,
) -> tuple[Search, Study, View]:
    """A search whose memory affords ranks up to ``most_rank``."""
    folder.mkdir(exist_ok=True)
    view = View()

    def feasible(learning: LearningSettings) -> tuple[int, Plan]:
        return (learning.method.lora_rank - most_rank) * 2**30, replace(plan, learning=learning)

    encoding = encode_space(plan.learning, SPACE, 3e-3, lambda found: feasible(found)[0] <= 0)
    study = Study(folder, plan, encoding)
    study.workers.lead()
    slots = Slots(jobs=jobs, devices=devices)
    built = Search(study, feasible, folder / "trials", slots=slots, server=worker, listeners=[view])
    return built, study, view


ONE_GPU = Slots(jobs=1)


class Lost(View):
    """Remembers trials that were given back, too."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: list[tuple[int, str]] = []

    def released(self, number: int, message: str) -> None:
        """A trial waits to be run again."""
        self.lost.append((number, message))


def shared_search(
    folder: Path,
    worker: MultiLoraWorker | None,
    *,
    at_once: int = 3,
    slots: Slots = ONE_GPU,
    plan: Plan | None = None,
) -> tuple[Search, Study, Lost]:
    """A search with ``at_once`` trials in each of its slots; ``worker`` None: real workers."""
    shared = tiny.plan(folder) if plan is None else plan
    (folder / "run").mkdir()

    def feasible(learning: LearningSettings) -> tuple[int, Plan]:
        return 0, replace(shared, learning=learning)

    study = Study(
        folder / "run", shared, encode_space(shared.learning, SPACE, 3e-3, lambda _: True)
    )
    study.workers.lead()
    view = Lost()
    search = Search(
        study,
        feasible,
        folder / "run" / "trials",
        slots=slots,
        server=worker,
        listeners=[view],
        multi_lora=MultiLora(max_concurrent_trials=at_once, plan=shared, gain=2.0),
    )
    return search, study, view


def alike(_: LearningSettings) -> float:
    """No trial is a loser."""
    return 1.0
