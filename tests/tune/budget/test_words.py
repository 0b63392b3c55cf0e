"""The sentences of a search within a budget."""

from __future__ import annotations

import pytest

from tsplanner.errors import TsplannerError
from tsplanner.tune.budget.costs import Costs, Evaluations, Overheads
from tsplanner.tune.budget.schedule import Schedule
from tsplanner.tune.budget.words import refuse_too_short, schedule_words, span_words

COSTS = Costs(
    load_seconds=60.0,
    step_seconds=10.0,
    steps=120,
    evaluations=Evaluations(seconds=0.0, per_trial=4, per_full_run=3),
    overheads=Overheads(startup_seconds=8.0, trial_seconds=0.0, ending_seconds=0.0),
    max_concurrent_trials=2,
    gain=2.0,
)
"""A trial and the full run take 21 min each."""


def test_spans_are_told_in_the_words_that_people_use() -> None:
    """Seconds of a minute, minutes of an hour, and nothing that is zero."""
    assert [span_words(value) for value in (40, 60, 750, 3600, 10_080)] == [
        "40 s",
        "1 min",
        "12 min 30 s",
        "1 h",
        "2 h 48 min",
    ]


def test_schedule_names_trials_confirmation_full_run_and_the_whole() -> None:
    """One line says all that a person plans the evening by."""
    planned = Schedule(searched=7, pairs=2, seconds=10_080)
    assert schedule_words(planned, COSTS, 10_800) == (
        "3 h: 11 trials, 4 of them for the confirmation, 2 at once; full run 21 min; about "
        "2 h 48 min in all"
    )


def test_budget_below_the_full_run_is_refused_with_the_least_that_works() -> None:
    """21 min and the start: 22 minutes."""
    with pytest.raises(TsplannerError, match=r"5 min is too short.*give at least 22m"):
        refuse_too_short(COSTS, 300)
