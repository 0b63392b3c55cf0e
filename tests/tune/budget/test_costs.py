"""What the parts of a search take: predicted from the plan, then corrected by trials."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.costs import COSTS
from tsplanner.tune.budget.costs import load_seconds, rounds
from tsplanner.tune.budget.history import expected_costs
from tsplanner.tune.budget.schedule import (
    least_seconds,
)


def test_forecast_counts_the_evaluations_of_trials_and_of_the_full_run(tmp_path: Path) -> None:
    """Of three epochs: one before the first step, and one at each end."""
    plan = tiny.plan(tmp_path)
    costs, taught = expected_costs(plan, max_concurrent_trials=1, gain=1.0)
    assert not taught
    assert costs.steps == plan.time.total_steps
    assert costs.evaluations.per_full_run == plan.learning.optimization.num_train_epochs + 1


def test_checkpoints_are_the_full_runs_alone(tmp_path: Path) -> None:
    """Ten seconds of 60 go to them; evaluations come every two of ten steps, and before them."""
    plan = tiny.with_learning(tiny.plan(tmp_path), eval_steps=2, save_steps=1)
    time = replace(plan.time, total_seconds=60.0, evaluation_seconds=12.0, saving_seconds=10.0)
    costs, _ = expected_costs(replace(plan, time=time), max_concurrent_trials=1, gain=1.0)
    assert costs.evaluations.per_full_run == 6
    assert costs.evaluations.seconds == 2
    assert costs.step_seconds == pytest.approx(3.8)
    without = replace(costs, saving_seconds=0.0)
    assert costs.full_seconds - without.full_seconds == 10
    assert costs.trial_seconds == without.trial_seconds


def test_trial_and_full_run_are_predicted_from_their_steps_and_evaluations() -> None:
    """Load, 80 steps of a second, evaluations of four, and what surrounds them."""
    assert COSTS.trial_seconds == 102
    assert COSTS.full_seconds == 100
    assert least_seconds(COSTS) == 110


def test_trials_that_share_a_device_take_longer_each() -> None:
    """Four on one base that make twice the steps: each works for 96 s alone, 192 s there."""
    shared = replace(COSTS, max_concurrent_trials=4, gain=2.0)
    assert shared.trial_seconds == 5 + 2 * 96 + 1
    assert shared.full_seconds == 100


def test_measured_trials_move_trials_and_full_run_alike() -> None:
    """Trials that show 202 s inside instead of 101 s: the full run doubles as well."""
    slower = COSTS.measured(202.0, 2.0)
    assert slower.trial_seconds == 204
    assert slower.full_seconds == 2 * 97 + 2 + 2


def test_what_is_measured_twice_is_not_multiplied_twice() -> None:
    """The factor is of the forecast, not of the last measurement."""
    assert COSTS.measured(202.0, 1.0).measured(202.0, 1.0).factors.trial == pytest.approx(2.0)


def test_a_full_run_that_took_longer_moves_the_full_run_alone() -> None:
    """100 s were predicted, 3 of them fixed: 197 s are twice the other 97."""
    slower = COSTS.full_run_took(197.0)
    assert slower.factors.full == pytest.approx(2.0)
    assert slower.full_seconds == pytest.approx(197.0)
    assert slower.trial_seconds == COSTS.trial_seconds
    assert slower.full_run_took(197.0).factors.full == pytest.approx(2.0)


def test_a_full_run_shorter_than_its_overhead_still_counts() -> None:
    """A factor of 0 would make every later prediction 0."""
    assert COSTS.full_run_took(1.0).factors.full == pytest.approx(0.1 / 97)


def test_rounds_are_judged_one_after_the_other() -> None:
    """Three pairs two at a time: one pair per round is three rounds of one trial's time."""
    assert [rounds(count, 4) for count in (0, 1, 4, 5)] == [0, 1, 1, 2]
    two = replace(COSTS, max_concurrent_trials=2, gain=2.0)
    assert two.pairs_seconds(3) == 3 * 102
    assert COSTS.pairs_seconds(3) == 6 * 102
    four = replace(COSTS, max_concurrent_trials=4, gain=4.0)
    assert four.pairs_seconds(3) == 2 * 102


def test_the_start_is_known_once_the_first_trial_has_begun() -> None:
    """Nothing else changes with it."""
    started = COSTS.started(25.0)
    assert started.startup_seconds == 25.0
    assert started.trial_seconds == COSTS.trial_seconds


def test_a_base_is_read_from_a_warm_disk(tmp_path: Path) -> None:
    """7e9 parameters of two bytes at 1e9 bytes per second: 14 s and one second beside.

    Weights that are drawn at random are read from nowhere.
    """
    plan = tiny.plan(tmp_path)
    large = replace(plan.model, parameters_total=7_000_000_000, has_weights=True)
    assert load_seconds(replace(plan, model=large)) == 15.0
    drawn = replace(large, has_weights=False)
    assert load_seconds(replace(plan, model=drawn)) == 1.0
