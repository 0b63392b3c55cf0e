"""How many trials a budget of time has room for, and how long the whole search takes. Pure.

A trial of the search, a trial of the confirmation and the full run train the same steps, so one
prediction tells all of them: it is right or wrong by one factor, which the first trial reveals.
Trials run in rounds of up to ``max_concurrent_trials``. The full run is kept free to the end;
before it, pairs of the confirmation for half of the search's trials; what is left is searched.
"""

from __future__ import annotations

from memory_models.frozen import frozen
from tsplanner.tune.budget.costs import Costs, rounds
from tsplanner.tune.search.acquisition import pairs_of

MAX_TRIALS = 32
"""Largest number of trials of a budget that names none: more tell nothing about two axes."""
MIN_TRIALS = 2
"""Smallest number of trials of a search: the baseline, and another to compare it with."""
OVERRUN = 1.08
"""Overrun factor: past 1.08 x the estimated time, what was planned is dropped."""


@frozen
class Schedule:
    """What a budget is spent on."""

    searched: int
    """Number of trials of the search; 0: the full run alone."""
    pairs: int
    """Largest number of pairs of the confirmation."""
    seconds: float
    """Seconds of everything."""

    @property
    def trials(self) -> int:
        """Number of trials of search and confirmation."""
        return self.searched + 2 * self.pairs


def least_seconds(costs: Costs) -> float:
    """Seconds of the least budget that works: the full run."""
    return costs.startup_seconds + costs.full_seconds


def schedule(costs: Costs, seconds: float, max_trials: int) -> Schedule:
    """The most trials that end in time; ``max_trials`` includes those of the confirmation.

    Where there is no time for a pair of the confirmation, the trials of the search decide alone.
    """
    most = max_searched(max_trials)
    counts = range(most, min(MIN_TRIALS, most) - 1, -1)
    plans = [(searched, pairs_for(searched, max_trials)) for searched in counts]
    # Few trials with their pairs go before more trials without pairs: a winner that was not
    # confirmed may only have been luckier.
    for searched, pairs in (*plans, *((count, 0) for count in counts)):
        taken = least_seconds(costs) + costs.pairs_seconds(pairs)
        taken += rounds(searched, costs.max_concurrent_trials) * costs.trial_seconds
        if taken <= seconds:
            return Schedule(searched=searched, pairs=pairs, seconds=taken)
    return Schedule(searched=0, pairs=0, seconds=least_seconds(costs))


def max_searched(max_trials: int) -> int:
    """Largest number of trials of the search, out of ``max_trials`` trials in all."""
    return max_trials - 2 * pairs_of(max_trials)


def pairs_for(searched: int, max_trials: int) -> int:
    """Pairs of the confirmation after ``searched`` trials: half of all trials at most."""
    return min(searched // 2, pairs_of(max_trials))


def room_for_trial(costs: Costs, left_seconds: float, pairs: int) -> bool:
    """Whether another trial leaves enough time for ``pairs`` pairs and the full run."""
    return room_for_pairs(costs, left_seconds - costs.trial_seconds, pairs)


def room_for_pairs(costs: Costs, left_seconds: float, pairs: int) -> bool:
    """Whether ``pairs`` pairs of the confirmation leave enough time for the full run."""
    return costs.pairs_seconds(pairs) + costs.full_seconds <= left_seconds
