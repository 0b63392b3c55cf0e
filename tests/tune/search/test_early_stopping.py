"""Which trials are stopped before their end."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tsplanner.tune.search.early_stopping import LearningCurve, losers
from tsplanner.tune.search.paired_eval import PerExampleLosses

BEST: PerExampleLosses = [(1.0, 10), (1.1, 10), (0.9, 10), (1.0, 10), (1.0, 10)]
WORSE: PerExampleLosses = [(1.4, 10), (1.5, 10), (1.3, 10), (1.4, 10), (1.5, 10)]
"""Deficit by 0.42 on average, with a standard error of 0.02."""
LAST = 30
THIRD, TWO_THIRDS = 10, 20


def curve(checkpoints: Mapping[int, PerExampleLosses], final: float | None = None) -> LearningCurve:
    """A trial that was evaluated at these steps."""
    return LearningCurve(checkpoints=checkpoints, final=final)


def shifted(by: float) -> PerExampleLosses:
    """The best rows, each worse by ``by`` and a little noise."""
    return [(loss + by + 0.001 * place, count) for place, (loss, count) in enumerate(BEST)]


def test_trial_that_cannot_catch_up_is_stopped() -> None:
    """The rival gained 0.5 after this step; half of that does not make good 0.42."""
    curves = {0: curve({THIRD: BEST}, 0.5), 1: curve({THIRD: WORSE})}
    found = losers(curves, {1}, 8, LAST)
    assert list(found) == [1]
    assert (found[1].rival, found[1].step) == (0, THIRD)
    assert round(found[1].difference, 2) == 0.42
    assert round(found[1].error, 2) == 0.02


def test_trial_with_enough_ahead_of_it_goes_on() -> None:
    """The rival gained 0.9 after this step, so 0.42 may be made good."""
    curves = {0: curve({THIRD: BEST}, 0.1), 1: curve({THIRD: WORSE})}
    assert losers(curves, {1}, 8, LAST) == {}


@pytest.mark.parametrize("step", [6, LAST])
def test_first_third_and_last_step_are_not_judged(step: int) -> None:
    """Warm-up tells little, and at the end nothing is saved."""
    curves = {0: curve({step: BEST}, 0.5), 1: curve({step: WORSE})}
    assert losers(curves, {1}, 2, LAST) == {}


def test_noise_of_the_rows_stops_no_trial() -> None:
    """Worse on average, but by less than two standard errors."""
    noisy = [(3.0, 10), (0.4, 10), (0.9, 10), (1.0, 10), (1.0, 10)]
    curves = {0: curve({15: BEST}, 0.99), 1: curve({15: noisy})}
    assert losers(curves, {1}, 8, LAST) == {}


def test_half_of_the_trials_go_on_at_a_third_and_a_quarter_at_two_thirds() -> None:
    """Eight that run side by side, each clearly worse than the one before."""
    curves = {place: curve({THIRD: shifted(0.1 * place)}) for place in range(8)}
    assert sorted(losers(curves, set(range(8)), 8, LAST)) == [4, 5, 6, 7]
    curves = {place: curve({TWO_THIRDS: shifted(0.1 * place)}) for place in range(4)}
    assert sorted(losers(curves, set(range(4)), 8, LAST)) == [2, 3]


def test_order_of_arrival_does_not_matter() -> None:
    """A trial that was alone at the rung is stopped once the better ones have got there."""
    early = {0: curve({THIRD: WORSE}), 1: curve({THIRD: BEST})}
    assert losers(early, {0, 1}, 4, LAST) == {}
    late = {**early, 2: curve({THIRD: shifted(0.1)})}
    assert list(losers(late, {0, 1, 2}, 4, LAST)) == [0]


def test_two_trials_may_always_go_on() -> None:
    """Of three at two thirds a quarter would be one alone; the second may still win."""
    curves = {place: curve({TWO_THIRDS: shifted(0.1 * place)}) for place in range(3)}
    assert sorted(losers(curves, set(range(3)), 3, LAST)) == [2]


def test_rival_that_never_got_there_says_nothing() -> None:
    """Other steps are not compared."""
    curves = {0: curve({5: BEST}, 0.5), 1: curve({15: WORSE})}
    assert losers(curves, {1}, 2, LAST) == {}
