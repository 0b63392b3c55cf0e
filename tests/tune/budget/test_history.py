"""``tune --budget``: how a span is written, what is estimated, and what is remembered."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import tiny
from tsplanner.planner.plan import Plan
from tsplanner.tune.budget.costs import Costs
from tsplanner.tune.budget.history import (
    append_history,
    expected_costs,
    history_path,
    read_history,
)


def costs_of(plan: Plan) -> tuple[Costs, bool]:
    """Costs of a search one by one, and whether earlier ones taught them."""
    return expected_costs(plan, max_concurrent_trials=1, gain=1.0)


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
