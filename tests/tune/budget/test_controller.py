"""A search within a budget with stand-in workers and a clock that they move."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support import tiny
from tests.support.costs import COSTS
from tests.support.searching import Worker, search
from tsplanner.tune.budget.controller import Budget, BudgetController
from tsplanner.tune.budget.costs import Costs
from tsplanner.tune.budget.schedule import Schedule
from tsplanner.tune.confirmation import Decision
from tsplanner.tune.sentences import decision_sentence
from tsplanner.tune.study.study import Study


class Hours:
    """Time that passes by as much as each trial takes."""

    def __init__(self, worker: Worker, seconds: float) -> None:
        self.worker, self.seconds, self.time = worker, seconds, 10.0
        self._lock = threading.Lock()

    def run(self, arguments: Sequence[str], **options: Any) -> Any:
        """Answer a job, and let its time pass."""
        with self._lock:
            self.time += self.seconds
        return self.worker.run(arguments, **options)

    def now(self) -> float:
        """The time."""
        return self.time


def better(job: Any) -> float:
    """Three times the rate is better on every seed."""
    return 5.0 - job.plan.learning.optimization.learning_rate * 100


def played(
    folder: Path, trial_seconds: float, budget: float, *, costs: Costs = COSTS, most: int = 32
) -> tuple[BudgetController, Decision, Study, list[Schedule]]:
    """A search whose trials take as long as that, whatever the costs say."""
    worker = Hours(Worker(better), trial_seconds)
    built, study, _ = search(folder / "run", tiny.plan(folder), worker)  # type: ignore[arg-type]
    told: list[Schedule] = []
    controller = BudgetController(
        costs,
        Budget(seconds=budget, max_trials=most, began=0.0),
        trials_folder=built.folder,
        always_renews=True,
        on_renewal=lambda planned, _: told.append(planned),
        now=worker.now,
    )
    controller.inside = lambda _: trial_seconds - 1
    built.monitor.listeners.insert(0, controller)
    decision = controller.decide(study, built)
    assert decision is not None
    return controller, decision, study, told


def counts(study: Study) -> tuple[int, int]:
    """Trials of the search, and of the confirmation."""
    results = study.results()
    fresh = sum(one.seed is not None for one in results)
    return len(results) - fresh, fresh


def test_trials_as_predicted_fill_the_schedule(tmp_path: Path) -> None:
    """926 s have room for four trials of the search and two pairs; the estimate holds."""
    controller, decision, study, _ = played(tmp_path, 102.0, 930.0)
    assert counts(study) == (4, 4)
    assert decision.evidence.fresh_seeds == 2
    assert controller.took() + controller.costs.full_seconds <= 930


def test_slower_trials_drop_trials_and_keep_the_full_run(tmp_path: Path) -> None:
    """Half as slow again: the first trial renews the estimate, and the full run still fits."""
    controller, _, study, told = played(tmp_path, 150.0, 930.0)
    assert len(told) == 1
    assert sum(counts(study)) < 8
    assert controller.took() + controller.costs.full_seconds <= 930


def test_first_trial_that_takes_all_the_time_is_in_the_estimate(tmp_path: Path) -> None:
    """Five times as slow as predicted: 10 + 510 s have passed, and the full run needs 500 more."""
    _, _, study, told = played(tmp_path, 510.0, 450.0)
    assert counts(study) == (1, 0)
    assert told[0].searched == 1
    assert 1000 < told[0].seconds < 1040


def test_faster_trials_make_more_of_them(tmp_path: Path) -> None:
    """Half as long: the same budget has room for about twice as many."""
    controller, _, study, told = played(tmp_path, 50.0, 930.0)
    assert sum(counts(study)) >= 12
    assert told[0].trials > controller.first_estimate_seconds / 102
    assert controller.took() + controller.costs.full_seconds <= 930


def test_trials_asked_for_are_not_exceeded(tmp_path: Path) -> None:
    """--trials 4 beside a large budget: four at most, whatever time is left."""
    _, _, study, _ = played(tmp_path, 10.0, 5000.0, most=4)
    assert sum(counts(study)) <= 4


def test_budget_for_the_full_run_alone_keeps_the_baseline(tmp_path: Path) -> None:
    """No trial runs, and the sentence says why."""
    _, decision, study, _ = played(tmp_path, 102.0, 150.0)
    assert study.results() == []
    assert decision.keeps_baseline
    assert "full run alone" in decision_sentence(decision)


def test_budget_that_the_start_used_up_trains_the_baseline(tmp_path: Path) -> None:
    """800 of 930 s have passed before the first trial, which would take 102 of the last 130 s."""
    worker = Worker(better)
    built, study, _ = search(tmp_path / "run", tiny.plan(tmp_path), worker)
    controller = BudgetController(
        COSTS,
        Budget(seconds=930.0, max_trials=32, began=0.0),
        trials_folder=built.folder,
        always_renews=True,
        now=lambda: 800.0,
    )
    assert controller.schedule.searched == 4
    decision = controller.decide(study, built)
    assert worker.jobs == []
    assert decision is not None
    assert decision.keeps_baseline
    assert "full run alone" in decision_sentence(decision)


def test_costs_learn_from_measured_trials_only(tmp_path: Path) -> None:
    """A controller without a trial keeps its forecast."""
    controller = BudgetController(
        replace(COSTS, max_concurrent_trials=2, gain=2.0),
        Budget(seconds=930.0, max_trials=8, began=0.0),
        trials_folder=tmp_path,
        always_renews=True,
        now=lambda: 5.0,
    )
    assert controller.estimate_seconds == controller.first_estimate_seconds == 4 * 102 + 110
    assert controller.left() == 518 * 1.08 - 5
