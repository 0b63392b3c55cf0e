"""``tune --budget``: how a span is written, what is promised, and what is remembered."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from tests.support import tiny
from tsplanner.commands.tune_budget import (
    budget_span,
    costs_of,
    promise_words,
    refuse_what_is_too_short,
    remember,
    remembered,
    span_words,
    start_clock,
)
from tsplanner.errors import TsplannerError
from tsplanner.planner.plan import Plan
from tsplanner.tune.budget.controller import Clock
from tsplanner.tune.budget.schedule import Costs, Schedule

COSTS = Costs(
    startup_seconds=8.0,
    load_seconds=60.0,
    step_seconds=10.0,
    steps=120,
    evaluation_seconds=0.0,
    trial_evaluations=4,
    full_evaluations=3,
    overhead_seconds=0.0,
    ending_seconds=0.0,
    places=2,
    gain=2.0,
)
"""A trial and the full run take 21 min each."""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3h", 10_800), ("90m", 5400), ("1h30m", 5400), ("5400s", 5400), ("1.5H", 5400)],
)
def test_span_is_read_in_every_unit(text: str, seconds: float) -> None:
    """Hours, minutes and seconds, together or alone."""
    assert budget_span(text) == seconds


def test_number_without_a_unit_is_refused_with_a_hint() -> None:
    """Nobody should wait 90 hours for what was meant as 90 seconds."""
    with pytest.raises(argparse.ArgumentTypeError, match="90 of what\\? Write 90s, 90m or 90h"):
        budget_span("90")


@pytest.mark.parametrize("text", ["", "soon", "3x", "0h", "-1h"])
def test_text_that_is_no_span_is_refused(text: str) -> None:
    """Zero is none either."""
    with pytest.raises(argparse.ArgumentTypeError, match="no span of time"):
        budget_span(text)


def test_spans_are_told_in_the_words_that_people_use() -> None:
    """Seconds of a minute, minutes of an hour, and nothing that is zero."""
    assert [span_words(value) for value in (40, 60, 750, 3600, 10_080)] == [
        "40 s",
        "1 min",
        "12 min 30 s",
        "1 h",
        "2 h 48 min",
    ]


def test_promise_names_trials_last_word_full_run_and_the_whole() -> None:
    """One line says all that a person plans the evening by."""
    planned = Schedule(searched=7, pairs=2, seconds=10_080)
    assert promise_words(planned, COSTS, 10_800) == (
        "3 h: 11 trials, 4 of them for the last word, 2 at once; full run 21 min; about "
        "2 h 48 min in all"
    )


def test_budget_below_the_full_run_is_refused_with_the_least_that_works() -> None:
    """21 min and the start: 22 minutes."""
    with pytest.raises(TsplannerError, match=r"5 min is too short.*give at least 22m"):
        refuse_what_is_too_short(COSTS, 300)


def clock_of(plan: Plan, folder: Path) -> Clock:
    """A day's budget for a search one by one."""
    return start_clock(
        plan, 86_400, 8, places=1, gain=1.0, folder=folder, began=0.0, say=lambda words: None
    )


def test_forecast_counts_the_evaluations_of_trials_and_of_the_full_run(tmp_path: Path) -> None:
    """Of three epochs: one before the first step, and one at each end."""
    plan = tiny.plan(tmp_path)
    costs, taught = costs_of(plan, places=1, gain=1.0)
    assert not taught
    assert costs.steps == plan.time.total_steps
    assert costs.full_evaluations == plan.learning.optimization.num_train_epochs + 1


def test_next_search_starts_from_what_the_last_one_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial that took twice its forecast, and a full run that took twice that again."""
    monkeypatch.setenv("TSPLANNER_STATE", str(tmp_path / "state"))
    plan = tiny.plan(tmp_path)
    clock = clock_of(plan, tmp_path)
    clock.costs = clock.costs.measured(2 * clock.costs.inside_seconds, 0.5)
    clock.startup_seconds = 4.0
    costs = clock.costs
    fixed = costs.overhead_seconds + costs.ending_seconds
    remember(plan, clock, fixed + 2 * (costs.full_seconds - fixed))
    assert len(remembered()) == 1
    again, taught = costs_of(plan, places=1, gain=1.0)
    assert taught
    assert again.trial_factor == pytest.approx(2.0)
    assert again.full_factor == pytest.approx(2.0)
    assert again.startup_seconds == 4.0


def test_search_of_another_kind_teaches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four at once share the machine otherwise than one alone."""
    monkeypatch.setenv("TSPLANNER_STATE", str(tmp_path / "state"))
    plan = tiny.plan(tmp_path)
    clock = clock_of(plan, tmp_path)
    clock.startup_seconds = 4.0
    remember(plan, clock, None)
    assert not costs_of(plan, places=4, gain=4.0)[1]
