"""A search within a budget with stand-in workers and a clock that they move."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support import tiny
from tests.tune.test_budget import COSTS
from tests.tune.test_search import Worker, search
from tsplanner.tune.budget.controller import Clock, TimedView
from tsplanner.tune.budget.schedule import Costs, Schedule
from tsplanner.tune.confirmation import Decision
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
) -> tuple[Clock, Decision, Study, list[Schedule]]:
    """A search whose trials take as long as that, whatever the costs say."""
    worker = Hours(Worker(better), trial_seconds)
    built, study, view = search(folder / "run", tiny.plan(folder), worker)  # type: ignore[arg-type]
    told: list[Schedule] = []
    clock = Clock(
        costs,
        budget,
        most,
        trials_folder=built.folder,
        began=0.0,
        renew=True,
        told=lambda planned, _: told.append(planned),
        now=worker.now,
    )
    clock.inside = lambda _: trial_seconds - 1
    built.referee.view = TimedView(view, clock)
    decision = clock.decide(study, built)
    assert decision is not None
    return clock, decision, study, told


def counts(study: Study) -> tuple[int, int]:
    """Trials of the search, and of the last word."""
    results = study.results()
    fresh = sum(one.seed is not None for one in results)
    return len(results) - fresh, fresh


def test_trials_as_foretold_fill_the_schedule(tmp_path: Path) -> None:
    """926 s have room for four trials of the search and two pairs; the promise is kept."""
    clock, decision, study, _ = played(tmp_path, 102.0, 930.0)
    assert counts(study) == (4, 4)
    assert decision.fresh_seeds == 2
    assert clock.took() + clock.costs.full_seconds <= 930


def test_slower_trials_drop_trials_and_keep_the_full_run(tmp_path: Path) -> None:
    """Half as slow again: the first trial renews the promise, and the full run still fits."""
    clock, _, study, told = played(tmp_path, 150.0, 930.0)
    assert len(told) == 1
    assert sum(counts(study)) < 8
    assert clock.took() + clock.costs.full_seconds <= 930


def test_first_trial_that_takes_all_the_time_is_in_the_promise(tmp_path: Path) -> None:
    """Five times as slow as foretold: 10 + 510 s have passed, and the full run needs 500 more."""
    _, _, study, told = played(tmp_path, 510.0, 450.0)
    assert counts(study) == (1, 0)
    assert told[0].searched == 1
    assert 1000 < told[0].seconds < 1040


def test_faster_trials_make_more_of_them(tmp_path: Path) -> None:
    """Half as long: the same budget has room for about twice as many."""
    clock, _, study, told = played(tmp_path, 50.0, 930.0)
    assert sum(counts(study)) >= 12
    assert told[0].trials > clock.first_promise / 102
    assert clock.took() + clock.costs.full_seconds <= 930


def test_trials_asked_for_are_not_exceeded(tmp_path: Path) -> None:
    """--trials 4 beside a large budget: four at most, whatever time is left."""
    _, _, study, _ = played(tmp_path, 10.0, 5000.0, most=4)
    assert sum(counts(study)) <= 4


def test_budget_for_the_full_run_alone_keeps_the_default(tmp_path: Path) -> None:
    """No trial runs, and the sentence says why."""
    _, decision, study, _ = played(tmp_path, 102.0, 150.0)
    assert study.results() == []
    assert decision.is_default
    assert "full run alone" in decision.sentence


def test_costs_learn_from_measured_trials_only(tmp_path: Path) -> None:
    """A clock without a trial keeps its forecast."""
    clock = Clock(
        replace(COSTS, places=2, gain=2.0),
        930.0,
        8,
        trials_folder=tmp_path,
        began=0.0,
        renew=True,
        now=lambda: 5.0,
    )
    assert clock.promised == clock.first_promise == 4 * 102 + 110
    assert clock.left() == 518 * 1.08 - 5
