"""Trials in worker processes: the jobs that the workers get, and how they are ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.multi_lora_worker import MultiLoraWorker
from tests.support.searching import Worker, alike, by_rank, search, shared_search
from tsplanner.training.job import JobKind
from tsplanner.tune.runner.monitor import RunningTrial
from tsplanner.tune.runner.runner import Search
from tsplanner.tune.runner.trial_runner import Cancelled, trial_on_base
from tsplanner.tune.study.study import Proposal
from tsplanner.tune.study.trial_result import TrialState


def claimed(found: Search, count: int = 1) -> list[RunningTrial]:
    """The first trials of a search."""
    found.study.workers.want(count)
    trials = [found.source.claim() for _ in range(count)]
    return [trial for trial in trials if trial is not None]


def test_a_trial_alone_is_a_job_of_its_own(tmp_path: Path) -> None:
    """Its folder has its number, its plan is its own, and the slot decides on its GPU."""
    plan = tiny.with_hardware(tiny.plan(tmp_path), accelerator="cuda")
    worker = Worker(by_rank)
    found, study, _ = search(tmp_path / "run", plan, worker, jobs=2, devices=("GPU-0", "GPU-1"))
    (trial,) = claimed(found)
    found.runner.run_alone(trial, 1)
    (job,) = worker.jobs
    assert job.kind is JobKind.TRIAL
    assert Path(job.folder) == tmp_path / "run" / "trials" / "0"
    assert job.plan.learning == trial.proposal.learning
    assert job.evals_per_epoch == 1
    assert worker.visible == {"GPU-1"}
    (result,) = study.results()
    assert (result.state, result.eval_loss) == (TrialState.COMPLETED, 1 / 16)
    assert trial.progress == 1.0


def test_trials_of_one_epoch_are_evaluated_at_thirds(tmp_path: Path) -> None:
    """About three evaluations per trial: three in one epoch, or one or two in each of several."""
    found, _, _ = search(tmp_path / "run", tiny.plan(tmp_path), Worker(by_rank))
    (trial,) = claimed(found)
    counts = []
    for epochs in (1, 2, 3, 10):
        learning = tiny.with_learning(trial.plan, num_train_epochs=epochs).learning
        proposal = Proposal(number=0, learning=learning, handle=None)
        counts.append(
            RunningTrial(proposal=proposal, plan=trial.plan, folder=tmp_path).evals_per_epoch
        )
    assert counts == [3, 2, 1, 1]


def test_trials_that_share_a_base_are_one_open_job(tmp_path: Path) -> None:
    """The worker's folder has the number of its first trial, and each trial keeps its own."""
    found, _, _ = shared_search(tmp_path, MultiLoraWorker(alike))
    trials = claimed(found, 2)
    assert found.multi_lora is not None
    job = found.runner.shared_job(trials, found.multi_lora, together=3)
    assert Path(job.folder) == tmp_path / "run" / "multi-lora" / "0"
    shared = job.shared
    assert shared is not None
    assert (shared.max_concurrent_trials, shared.open) == (3, True)
    assert [Path(one.folder).name for one in shared.trials] == ["0", "1"]
    assert shared.trials == tuple(trial_on_base(trial) for trial in trials)
    assert [one.learning for one in shared.trials] == [one.proposal.learning for one in trials]


def test_an_interruption_is_seen_by_every_running_trial(tmp_path: Path) -> None:
    """The check is called while a worker runs; what it raises ends the worker."""
    found, study, _ = search(tmp_path / "run", tiny.plan(tmp_path), Worker(by_rank))
    (trial,) = claimed(found)
    found.runner.check()
    found.cancelled.set()
    with pytest.raises(Cancelled):
        found.runner.run_alone(trial, 0)
    assert study.results() == []
