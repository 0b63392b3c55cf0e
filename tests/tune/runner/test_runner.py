"""The search with stand-in workers: proposals, memory, early stopping, interruption, resuming."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.searching import SPACE, Worker, by_rank, search


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
