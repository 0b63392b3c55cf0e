"""How trials ended, and what the end of a trial says of its settings."""

from __future__ import annotations

from typing import Any

import pytest

from tsplanner.planner.settings import LearningSettings
from tsplanner.tune.search.early_stopping import Deficit
from tsplanner.tune.study.trial_result import (
    Result,
    TrialState,
    is_diverged,
    observed_loss,
    state_of,
    stored_deficit,
)


@pytest.mark.parametrize("state", list(TrialState))
def test_state_is_read_back_as_it_was_written(state: TrialState) -> None:
    """Words of this version stand for themselves."""
    assert state_of(str(state)) is state


def test_unknown_state_is_an_error() -> None:
    """A word of a later version is not guessed at."""
    with pytest.raises(ValueError, match="asleep"):
        state_of("asleep")


def result(state: TrialState, **more: Any) -> Result:
    """A trial of the search that has ended."""
    fields = {"number": 3, "learning": LearningSettings(), "eval_loss": None, "message": ""}
    return Result(state=state, **(fields | more))


def test_a_completed_trial_says_its_loss() -> None:
    """Nothing is uncertain about a loss but the noise of the trial itself."""
    assert observed_loss(result(TrialState.COMPLETED, eval_loss=1.25), {}) == (1.25, 0.0)


def test_a_pruned_trial_says_what_it_would_have_reached() -> None:
    """0.4 behind a rival that ended at 1.0; half of the 0.4 may still have changed.

    The error is hypot(0.15, 0.5 x 0.4) = 0.25.
    """
    pruned = result(TrialState.PRUNED, deficit=Deficit(rival=1, difference=0.4, error=0.15))
    loss, error = observed_loss(pruned, {1: 1.0}) or (0.0, 0.0)
    assert loss == pytest.approx(1.4)
    assert error == pytest.approx(0.25)
    assert observed_loss(pruned, {0: 1.0}) is None


def test_a_diverged_trial_counts_as_worse_than_all_others() -> None:
    """Losses of 1.0 and 1.5 differ by 0.5, so it counts as 2.0; one of 1.0 alone makes it 1.1."""
    diverged = result(TrialState.FAILED, diverged=True)
    assert observed_loss(diverged, {0: 1.0, 1: 1.5}) == (2.0, 0.5)
    assert observed_loss(diverged, {0: 1.0}) == pytest.approx((1.1, 0.1))
    assert observed_loss(diverged, {}) is None


@pytest.mark.parametrize("state", [TrialState.FAILED, TrialState.REJECTED])
def test_a_trial_that_failed_or_never_began_says_nothing(state: TrialState) -> None:
    """A crash is no property of the settings."""
    assert observed_loss(result(state), {0: 1.0}) is None


def test_a_diverged_trial_is_told_to_optuna_as_pruned() -> None:
    """Its settings are at fault; a crash is a failure."""
    assert result(TrialState.FAILED).optuna_state == "FAIL"
    diverged = result(TrialState.FAILED, diverged=True)
    assert diverged.optuna_state == "PRUNED"
    assert is_diverged(str(diverged.state), diverged.optuna_state)
    assert not is_diverged("failed", "FAIL")
    assert not is_diverged("pruned", "PRUNED")


def test_a_deficit_is_read_in_both_forms() -> None:
    """Studies of an earlier version have three numbers."""
    deficit = Deficit(rival=2, difference=0.5, error=0.125)
    assert stored_deficit([2, 0.5, 0.125]) == deficit
    assert stored_deficit({"rival": 2, "difference": 0.5, "error": 0.125}) == deficit
    assert stored_deficit(None) is None
