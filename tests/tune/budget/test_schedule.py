"""What a span of time has room for, and what gives way first."""

from __future__ import annotations

from dataclasses import replace

from tests.support.costs import COSTS
from tsplanner.tune.budget.schedule import (
    room_for_pairs,
    room_for_trial,
    schedule,
)


def test_eight_trials_need_eight_rounds_and_the_full_run() -> None:
    """Four of the search, two pairs, one after the other: 8 x 102 + 110 = 926 s."""
    planned = schedule(COSTS, 930, 32)
    assert (planned.searched, planned.pairs, planned.trials) == (4, 2, 8)
    assert planned.seconds == 926


def test_two_at_once_halve_the_rounds() -> None:
    """Each of two trials is as fast as one alone: two rounds of the search, two of pairs."""
    planned = schedule(replace(COSTS, max_concurrent_trials=2, gain=2.0), 930, 8)
    assert planned.trials == 8
    assert planned.seconds == 4 * 102 + 110


def test_number_of_trials_is_the_least_of_budget_and_flag() -> None:
    """A day has room for more than the eight trials that were asked for, and ends after them."""
    assert schedule(COSTS, 86_400, 8).trials == 8
    assert schedule(COSTS, 86_400, 32).trials == 32


def test_small_budget_gives_up_the_confirmation_before_the_search() -> None:
    """Three rounds fit: three trials without a pair, for a pair and two trials need four."""
    planned = schedule(COSTS, 110 + 3 * 102 + 50, 32)
    assert (planned.searched, planned.pairs) == (3, 0)


def test_budget_for_the_full_run_alone_searches_nothing() -> None:
    """One trial tells nothing that the full run does not."""
    planned = schedule(COSTS, 110 + 102, 32)
    assert (planned.trials, planned.seconds) == (0, 110)


def test_full_run_is_never_given_up_for_a_trial_or_a_pair() -> None:
    """With 300 s left a trial (102) leaves time for the full run, but not for a pair (204) too."""
    assert room_for_trial(COSTS, 300, 0)
    assert not room_for_trial(COSTS, 300, 1)
    assert not room_for_pairs(COSTS, 300, 1)
    assert room_for_pairs(COSTS, 304, 1)
