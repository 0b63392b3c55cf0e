"""How many trials a span of time has room for, and how long the whole search will take. Pure.

A trial of the search, one of the last word and the full run train the same steps, so all of them
are told by one forecast: it is right or wrong by one factor, which the first trial reveals. Trials
run in rounds of as many as run at once. What is kept free to the end is the full run; before it, as
many pairs of the last word as half of the search's trials; what is left is searched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

MOST_TRIALS = 32
"""Of a budget that names no number: with more, two axes have nothing left to tell."""
FEWEST = 2
"""Trials of a search: the default, and another to compare it with."""
LATE = 1.08
"""Times the promise that a search may take before it drops what it had planned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What the parts of a search take, in seconds."""

    startup_seconds: float
    """Until the first trial begins to load: imports."""
    load_seconds: float
    step_seconds: float
    """Of a run that has the device to itself."""
    steps: int
    """Of a trial, and of the full run."""
    evaluation_seconds: float
    """One pass over the held-out rows."""
    trial_evaluations: int
    full_evaluations: int
    overhead_seconds: float
    """Of a trial and of the full run: from asked for to begun, and from ended to told."""
    ending_seconds: float
    """After the full run: the report."""
    places: int
    """Trials that run at once."""
    gain: float
    """Trial steps a second of all places over those of one trial alone."""
    trial_factor: float = 1.0
    """Measured over forecast, of trials."""
    full_factor: float = 1.0
    """The same of full runs, over what trials led to expect."""

    @property
    def inside_seconds(self) -> float:
        """What a trial's own clock should show while the other places are taken."""
        work = self.steps * self.step_seconds + self.trial_evaluations * self.evaluation_seconds
        return self.trial_factor * (self.load_seconds + work * self.places / self.gain)

    @property
    def trial_seconds(self) -> float:
        """A trial, from asked for to told."""
        return self.inside_seconds + self.overhead_seconds

    @property
    def full_seconds(self) -> float:
        """The full run and its report."""
        work = self.steps * self.step_seconds + self.full_evaluations * self.evaluation_seconds
        inside = self.trial_factor * self.full_factor * (self.load_seconds + work)
        return inside + self.overhead_seconds + self.ending_seconds

    def measured(self, inside_seconds: float, overhead_seconds: float) -> Costs:
        """These costs once trials have shown what they take."""
        factor = inside_seconds / (self.inside_seconds / self.trial_factor)
        return replace(self, trial_factor=factor, overhead_seconds=overhead_seconds)

    def pairs_seconds(self, pairs: int) -> float:
        """So many pairs of the last word: each round is judged before the next one begins."""
        return _rounds(pairs, max(1, self.places // 2)) * self.round_seconds

    @property
    def round_seconds(self) -> float:
        """One round of the last word."""
        return _rounds(2 * max(1, self.places // 2), self.places) * self.trial_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What a budget is spent on."""

    searched: int
    """Trials of the search; 0: the full run alone."""
    pairs: int
    """Of the last word, at most."""
    seconds: float
    """Of everything."""

    @property
    def trials(self) -> int:
        """All of them together."""
        return self.searched + 2 * self.pairs


def least_seconds(costs: Costs) -> float:
    """The least budget that works: the full run."""
    return costs.startup_seconds + costs.full_seconds


def schedule(costs: Costs, seconds: float, most_trials: int) -> Schedule:
    """The most trials that end in time; ``most_trials``: those of the last word included.

    Where there is no time for a pair of the last word, the trials of the search speak alone.
    """
    most = searched_at_most(most_trials)
    counts = range(most, min(FEWEST, most) - 1, -1)
    plans = [(searched, pairs_for(searched, most_trials)) for searched in counts]
    for searched, pairs in (*plans, *((count, 0) for count in counts)):
        taken = least_seconds(costs) + costs.pairs_seconds(pairs)
        taken += _rounds(searched, costs.places) * costs.trial_seconds
        if taken <= seconds:
            return Schedule(searched=searched, pairs=pairs, seconds=taken)
    return Schedule(searched=0, pairs=0, seconds=least_seconds(costs))


def searched_at_most(most_trials: int) -> int:
    """Trials of the search where all of them together are so many."""
    return most_trials - 2 * (most_trials // 4)


def pairs_for(searched: int, most_trials: int) -> int:
    """Pairs of the last word after so many trials of the search: half of all trials at most."""
    return min(searched // 2, most_trials // 4)


def room_for_trial(costs: Costs, left_seconds: float, pairs: int) -> bool:
    """Whether another trial leaves enough for so many pairs of the last word and the full run."""
    return room_for_pairs(costs, left_seconds - costs.trial_seconds, pairs)


def room_for_pairs(costs: Costs, left_seconds: float, pairs: int) -> bool:
    """Whether so many pairs leave enough for the full run."""
    return costs.pairs_seconds(pairs) + costs.full_seconds <= left_seconds


def _rounds(count: int, at_once: int) -> int:
    return math.ceil(count / at_once)
