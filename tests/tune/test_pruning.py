"""Which trials are stopped before their end."""

from __future__ import annotations

from tsplanner.tune.pruning import Behind, Course, hopeless

BEST = [(1.0, 10), (1.1, 10), (0.9, 10), (1.0, 10), (1.0, 10)]
WORSE = [(1.4, 10), (1.5, 10), (1.3, 10), (1.4, 10), (1.5, 10)]
"""Behind by 0.42 on average, with a standard error of 0.02."""


def test_trial_that_cannot_catch_up_is_stopped() -> None:
    """The rival gained 0.5 after this step; half of that does not make good 0.42."""
    found = hopeless(10, 1 / 3, WORSE, {0: Course(marks={10: BEST}, final=0.5)})
    assert isinstance(found, Behind)
    assert found.rival == 0
    assert round(found.difference, 2) == 0.42
    assert round(found.error, 2) == 0.02


def test_trial_with_enough_ahead_of_it_goes_on() -> None:
    """The rival gained 0.9 after this step, so 0.42 may be made good."""
    assert hopeless(10, 1 / 3, WORSE, {0: Course(marks={10: BEST}, final=0.1)}) is None


def test_first_third_and_last_step_are_not_judged() -> None:
    """Warm-up tells little, and at the end nothing is saved."""
    rivals = {0: Course(marks={10: BEST}, final=0.5)}
    assert hopeless(10, 0.2, WORSE, rivals) is None
    assert hopeless(10, 1.0, WORSE, rivals) is None


def test_noise_of_the_rows_stops_nobody() -> None:
    """Worse on average, but by less than three standard errors."""
    noisy = [(3.0, 10), (0.4, 10), (0.9, 10), (1.0, 10), (1.0, 10)]
    assert hopeless(10, 0.5, noisy, {0: Course(marks={10: BEST}, final=0.99)}) is None


def test_without_a_finished_rival_only_the_second_rung_halves() -> None:
    """Two that are still running: the worse one goes on at a third and stops at two thirds."""
    rivals = {0: Course(marks={10: BEST})}
    assert hopeless(10, 1 / 3, WORSE, rivals) is None
    assert hopeless(10, 2 / 3, WORSE, rivals) is not None


def test_rival_that_never_got_there_says_nothing() -> None:
    """Other steps are not compared."""
    assert hopeless(10, 0.5, WORSE, {0: Course(marks={5: BEST}, final=0.5)}) is None
