"""``tune --budget``: how a span is written, what is estimated, and what is remembered."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from tests.support import tiny
from tsplanner.commands.values import budget_seconds
from tsplanner.errors import TsplannerError
from tsplanner.planner.plan import Plan
from tsplanner.tune.budget.costs import Costs, Evaluations, Overheads
from tsplanner.tune.budget.history import (
    append_history,
    expected_costs,
    history_path,
    read_history,
)
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


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3h", 10_800), ("90m", 5400), ("1h30m", 5400), ("5400s", 5400), ("1.5H", 5400)],
)
def test_span_is_read_in_every_unit(text: str, seconds: float) -> None:
    """Hours, minutes and seconds, together or alone."""
    assert budget_seconds(text) == seconds


def test_number_without_a_unit_is_refused_with_a_hint() -> None:
    """Nobody should wait 90 hours for what was meant as 90 seconds."""
    with pytest.raises(argparse.ArgumentTypeError, match="90 of what\\? Write 90s, 90m or 90h"):
        budget_seconds("90")


@pytest.mark.parametrize("text", ["", "soon", "3x", "0h", "-1h"])
def test_text_that_is_no_span_is_refused(text: str) -> None:
    """Zero is none either."""
    with pytest.raises(argparse.ArgumentTypeError, match="is not a duration"):
        budget_seconds(text)


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


def costs_of(plan: Plan) -> tuple[Costs, bool]:
    """Costs of a search one by one, and whether earlier ones taught them."""
    return expected_costs(plan, max_concurrent_trials=1, gain=1.0)


def test_forecast_counts_the_evaluations_of_trials_and_of_the_full_run(tmp_path: Path) -> None:
    """Of three epochs: one before the first step, and one at each end."""
    plan = tiny.plan(tmp_path)
    costs, taught = costs_of(plan)
    assert not taught
    assert costs.steps == plan.time.total_steps
    assert costs.evaluations.per_full_run == plan.learning.optimization.num_train_epochs + 1


def test_next_search_starts_from_what_the_last_one_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial that took twice its forecast, and a full run that took twice that again."""
    monkeypatch.setenv("TSPLANNER_STATE", str(tmp_path / "state"))
    plan = tiny.plan(tmp_path)
    costs, _ = costs_of(plan)
    costs = costs.measured(2 * costs.inside_seconds, 0.5).started(4.0)
    fixed = costs.overheads.trial_seconds + costs.overheads.ending_seconds
    append_history(plan, costs, fixed + 2 * (costs.full_seconds - fixed))
    assert len(read_history()) == 1
    again, taught = costs_of(plan)
    assert taught
    assert again.factors.trial == pytest.approx(2.0)
    assert again.factors.full == pytest.approx(2.0)
    assert again.startup_seconds == 4.0


def test_search_of_another_kind_teaches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four at once share the machine otherwise than one alone."""
    monkeypatch.setenv("TSPLANNER_STATE", str(tmp_path / "state"))
    plan = tiny.plan(tmp_path)
    append_history(plan, costs_of(plan)[0].started(4.0), None)
    assert costs_of(plan)[1]
    assert not expected_costs(plan, max_concurrent_trials=4, gain=4.0)[1]


def test_line_of_the_version_before_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It called the number of trials at once by another name."""
    monkeypatch.setenv("TSPLANNER_STATE", str(tmp_path / "state"))
    plan = tiny.plan(tmp_path)
    append_history(plan, costs_of(plan)[0].started(4.0), None)
    path = history_path()
    path.write_text(path.read_text().replace('"max_concurrent_trials"', '"places"'))
    again, taught = costs_of(plan)
    assert taught
    assert again.startup_seconds == 4.0
