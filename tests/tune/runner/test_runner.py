"""The search with stand-in workers: proposals, memory, early stopping, interruption, resuming."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from memory_models.settings import from_flat
from tests.support import tiny
from tsplanner.errors import TsplannerError
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import LearningSettings
from tsplanner.processes import ProcessResult
from tsplanner.training.job import Job, JobKind, Status
from tsplanner.training.record import Evaluation, Record
from tsplanner.tune.runner.runner import Search
from tsplanner.tune.runner.slots import Slots, choose_slots
from tsplanner.tune.search.encoding import encode_space
from tsplanner.tune.search.space import Space
from tsplanner.tune.study.study import Result, Study
from tsplanner.tune.study.trial_result import TrialState

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


class Worker:
    """Answers a job at once: six evaluations whose loss depends on the settings alone."""

    def __init__(
        self, loss: Callable[[Job], float], status: Status = Status.OK, message: str = "boom"
    ) -> None:
        self.loss, self.status, self.message = loss, status, message
        self.jobs: list[Job] = []
        self.visible: set[str | None] = set()
        self.at_once = threading.Semaphore(64)

    def run(
        self,
        arguments: Sequence[str],
        *,
        log_path: Path,
        time_limit_seconds: float | None,
        poll: Callable[[], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> ProcessResult:
        """Write metrics evaluation by evaluation until asked to stop, then the record."""
        job = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=Job)
        self.jobs.append(job)
        self.visible.add((environment or {}).get("CUDA_VISIBLE_DEVICES"))
        folder, epochs = Path(job.folder), job.plan.learning.optimization.num_train_epochs
        evaluations: list[Evaluation] = []
        status = self.status
        for mark in range(1, 7) if status is Status.OK else []:
            loss = self.loss(job) + (6 - mark)
            row = {"step": mark, "epoch": epochs * mark / 6, "eval_loss": loss}
            with (folder / "eval_rows.jsonl").open("a") as file:
                line = {"step": mark, "epoch": row["epoch"], "rows": [[loss, 10]] * 6}
                file.write(json.dumps(line) + "\n")
            with (folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
            best = {"step": mark, "rows": [[loss, 10]] * 6}
            (folder / "eval_rows.json").write_text(json.dumps(best))
            evaluations.append(Evaluation(epoch=epochs * mark / 6, step=mark, loss=loss))
            if poll is not None:
                poll()
            if (folder / "stop").exists():
                status = Status.STOPPED
                break
        record = from_flat(
            Record,
            status=status,
            kind=JobKind.TRIAL,
            message=self.message,
            evaluations=tuple(evaluations),
        )
        (folder / "record.json").write_bytes(msgspec.json.encode(record))
        return ProcessResult(exit_status=0, timed_out=False, stopped_by_signal=None, seconds=0.0)


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


def test_first_trial_is_the_baseline_and_the_ladder_follows(tmp_path: Path) -> None:
    """Trial 0 trains the plan's rate at the largest rank; then three times it and a third."""
    plan, worker = tiny.plan(tmp_path), Worker(by_rank)
    built, _, view = search(tmp_path / "run", plan, worker)
    built.run(5)
    rates = [job.plan.learning.optimization.learning_rate for job in worker.jobs]
    assert rates[0] == plan.learning.optimization.learning_rate
    assert rates[1] == SPACE.learning_rate[1]
    assert rates[2] == pytest.approx(rates[0] / 3, rel=1e-4)
    assert len(set(rates)) == 5
    assert {job.plan.learning.method.lora_rank for job in worker.jobs} == {16}
    assert {job.plan.learning.optimization.num_train_epochs for job in worker.jobs} == {3}
    assert len(view.begun) == 5


def test_trial_that_memory_refuses_never_starts(tmp_path: Path) -> None:
    """No worker ever sees a rank over what fits, and the wanted number of trials still runs."""
    plan, worker = tiny.plan(tmp_path), Worker(by_rank)
    built, _, _ = search(tmp_path / "run", plan, worker, most_rank=8)
    built.run(6)
    assert {job.plan.learning.method.lora_rank for job in worker.jobs} <= {4, 8}
    assert len(worker.jobs) == 6


def test_bad_trial_is_stopped_early(tmp_path: Path) -> None:
    """A trial that is far behind a finished one on the same rows ends there."""
    plan = tiny.plan(tmp_path)
    seen: list[int] = []

    def fourth_is_bad(job: Job) -> float:
        number = int(Path(job.folder).name)
        seen.append(number)
        return 50.0 if number == 3 else 1.0 + number / 100

    built, study, _ = search(tmp_path / "run", plan, Worker(fourth_is_bad))
    built.run(4)
    last = study.results()[-1]
    assert last.number == 3
    assert last.state is TrialState.PRUNED
    assert "against trial 0 there" in last.message
    assert seen.count(3) == 2  # the first third is never judged


def test_baseline_that_crashes_ends_the_search(tmp_path: Path) -> None:
    """If the plan itself cannot be trained no trial can."""
    built, _, _ = search(tmp_path / "run", tiny.plan(tmp_path), Worker(by_rank, Status.CRASHED))
    with pytest.raises(TsplannerError, match="boom"):
        built.run(4)


def test_helper_on_a_broken_machine_leaves_its_first_trial_to_the_others(tmp_path: Path) -> None:
    """One node without a working stack must not use up the trials of all."""
    plan = tiny.plan(tmp_path)
    broken, study, _ = search(tmp_path / "run", plan, Worker(by_rank, Status.CRASHED))
    study.workers.want(3)
    with pytest.raises(TsplannerError, match="failed, and is left to others: boom"):
        broken.help()
    assert study.results() == []
    sound, study, _ = search(tmp_path / "run", plan, Worker(by_rank))
    sound.run(3)
    assert [one.state for one in study.results()] == [TrialState.COMPLETED] * 3


def test_two_at_once_run_as_many_as_were_asked_for(tmp_path: Path) -> None:
    """Slots share one study and one count."""
    worker = Worker(by_rank)
    built, study, _ = search(tmp_path / "run", tiny.plan(tmp_path), worker, jobs=2)
    built.run(7)
    assert len(worker.jobs) == 7
    assert len({job.folder for job in worker.jobs}) == 7
    assert len(study.results()) == 7


def test_slots_on_several_gpus_are_not_overruled_by_the_plan(tmp_path: Path) -> None:
    """The plan is for one GPU; each slot's trials see the slot's own."""
    plan = tiny.with_hardware(tiny.plan(tmp_path), accelerator="cuda")
    worker = Worker(by_rank)
    built, _, _ = search(tmp_path / "run", plan, worker, jobs=2, devices=("GPU-0", "GPU-1"))
    built.run(6)
    assert worker.visible <= {"GPU-0", "GPU-1"}
    alone = Worker(by_rank)
    built, _, _ = search(tmp_path / "alone", plan, alone)
    built.run(1)
    assert alone.visible == {"0"}


def test_diverged_trial_of_several_ranks_is_a_failed_one(tmp_path: Path) -> None:
    """The rank's number before the message does not make it a crash of the plan."""
    plan = tiny.plan(tmp_path)
    built, study, _ = search(
        tmp_path / "run",
        plan,
        Worker(by_rank, Status.DIVERGED, "rank 1: diverged: the loss is nan"),
    )
    built.run(2)
    assert [found.state for found in study.results()] == [TrialState.FAILED, TrialState.FAILED]


def test_interrupted_trial_is_queued_again(tmp_path: Path) -> None:
    """What was in flight when a search died is run by the resumed one, with its settings."""
    plan = tiny.plan(tmp_path)
    _, study, _ = search(tmp_path / "run", plan, Worker(by_rank))
    lost = study.ask()
    worker = Worker(by_rank)
    built, again, _ = search(tmp_path / "run", plan, worker)
    built.run(5)
    assert lost.learning == again.encoding.baseline
    assert [job.plan.learning for job in worker.jobs].count(lost.learning) == 1
    assert lost.number not in [found.number for found in again.results()]
    assert len(again.results()) == 5


def test_search_of_another_dataset_is_refused(tmp_path: Path) -> None:
    """Results on other rows cannot be compared; the message says what changed."""
    plan = tiny.plan(tmp_path)
    search(tmp_path / "run", plan, Worker(by_rank))
    assert plan.dataset.path is not None
    Path(plan.dataset.path).write_text('{"instruction": "a", "output": "b"}\n')
    with pytest.raises(TsplannerError, match="another dataset"):
        search(tmp_path / "run", plan, Worker(by_rank))


def test_damaged_journal_is_one_sentence_and_stays(tmp_path: Path) -> None:
    """A file that is no journal is named and left as it is."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "study.journal").write_text("no journal\nat all\n")
    with pytest.raises(TsplannerError, match="cannot be opened as a search"):
        search(folder, tiny.plan(tmp_path), Worker(by_rank))
    assert (folder / "study.journal").read_text().startswith("no journal\n")


def test_cpu_runs_as_many_trials_as_cores_and_memory_allow(tmp_path: Path) -> None:
    """Two cores: two trials of one thread; memory for one: one trial with both."""
    plan = tiny.plan(tmp_path)
    assert choose_slots(plan, trials=8) == Slots(jobs=2, threads=1)
    assert choose_slots(plan, trials=1) == Slots(jobs=1, threads=2)
    assert choose_slots(replace(plan, free_bytes=2**30), trials=8) == Slots(jobs=1, threads=2)
