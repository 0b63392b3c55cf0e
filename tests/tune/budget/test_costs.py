"""What the parts of a search take: predicted from the plan, then corrected by trials."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.costs import COSTS
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
