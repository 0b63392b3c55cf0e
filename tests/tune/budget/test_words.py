"""The sentences of a search within a budget."""

from __future__ import annotations

from pathlib import Path

import pytest

from tsplanner.errors import TsplannerError
from tsplanner.tune.budget.controller import Budget, BudgetController
from tsplanner.tune.budget.costs import Costs, Evaluations, Overheads
from tsplanner.tune.budget.schedule import Schedule
from tsplanner.tune.budget.words import (
    budget_document,
    refuse_too_short,
    renewal_words,
    schedule_words,
    span_words,
    took_words,
)

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


def controller(folder: Path) -> BudgetController:
    """A search of three hours that has taken 12.5 min."""
    return BudgetController(
        COSTS,
        Budget(seconds=10_800.0, max_trials=8, began=0.0),
        trials_folder=folder,
        always_renews=True,
        now=lambda: 750.0,
    )


def test_a_renewed_schedule_begins_with_what_a_trial_takes() -> None:
    """A person sees why the number of trials changed."""
    planned = Schedule(searched=2, pairs=0, seconds=3600)
    assert renewal_words(planned, COSTS, 10_800) == (
        "A trial takes 21 min. 3 h: 2 trials, 2 at once; full run 21 min; about 1 h in all."
    )


def test_a_schedule_without_trials_says_so() -> None:
    """The budget has room for the full run alone."""
    planned = Schedule(searched=0, pairs=0, seconds=1300)
    assert schedule_words(planned, COSTS, 1500) == (
        "25 min: no room for trials beside the full run; full run 21 min; about 21 min 40 s in all"
    )


def test_the_end_says_what_was_taken_of_what(tmp_path: Path) -> None:
    """Seconds since the start, of the budget, beside the estimate."""
    found = controller(tmp_path)
    told = span_words(found.estimate_seconds)
    assert took_words(found) == f"took 12 min 30 s of 3 h, estimated {told}"


def test_the_document_keeps_the_keys_that_programs_read(tmp_path: Path) -> None:
    """tune.json has had these keys since the first budget."""
    found = controller(tmp_path)
    assert budget_document(found) == {
        "budget_seconds": 10_800.0,
        "first_promised_seconds": found.first_estimate_seconds,
        "promised_seconds": found.estimate_seconds,
        "took_seconds": 750.0,
    }
