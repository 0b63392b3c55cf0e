"""Optuna's sampler interface over a function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.support import tiny
from tests.support.searching import SPACE
from tsplanner.tune.search.space import Space
from tsplanner.tune.study.sampler import axes, learning_of, parameters_for, suggesting_sampler


def study_with(suggested: dict[str, Any], asked: list[int]) -> Any:
    """Optuna's study in memory that notes for which trials it asks."""

    def suggest(number: int) -> dict[str, Any]:
        asked.append(number)
        return suggested

    return optuna.create_study(sampler=suggesting_sampler(suggest, axes(SPACE)))


def test_a_space_is_three_axes_or_two() -> None:
    """The rate is logarithmic; a method without an adapter has no rank."""
    found = axes(SPACE)
    assert list(found) == ["learning_rate", "num_train_epochs", "lora_rank"]
    assert (found["learning_rate"].low, found["learning_rate"].high) == SPACE.learning_rate
    assert found["learning_rate"].log
    assert (found["num_train_epochs"].high, found["lora_rank"].high) == (3, 16)
    full = Space(lora_ranks=(), learning_rate=(1e-5, 1e-4), epochs=(1,))
    assert list(axes(full)) == ["learning_rate", "num_train_epochs"]


def test_settings_are_parameters_and_back(tmp_path: Path) -> None:
    """What is not searched comes from the plan, and alpha follows the rank."""
    planned = tiny.plan(tmp_path).learning
    other = tiny.with_learning(tiny.plan(tmp_path), seed=7).learning
    values = {"learning_rate": 1e-3, "num_train_epochs": 3, "lora_rank": 16}
    found = learning_of(values, planned)
    assert parameters_for(found, values) == values
    assert found.method.alpha == 32
    assert learning_of(values, other).seed == 7
    assert learning_of(parameters_for(planned, axes(SPACE)), planned) == planned


def test_settings_without_a_rank_keep_the_rank_of_the_plan(tmp_path: Path) -> None:
    """Full fine-tuning is searched over rate and epochs alone."""
    planned = tiny.plan(tmp_path).learning
    found = learning_of({"learning_rate": 1e-3, "num_train_epochs": 1}, planned)
    assert found.method == planned.method


def test_part_of_an_epoch_is_no_axis(tmp_path: Path) -> None:
    """It is the plan's, and whole numbers alone are drawn."""
    planned = tiny.with_learning(tiny.plan(tmp_path), num_train_epochs=0.5).learning
    half = Space(lora_ranks=(), learning_rate=(1e-5, 1e-4), epochs=(0.5,))
    assert list(axes(half)) == ["learning_rate"]
    found = learning_of({"learning_rate": 1e-5}, planned)
    assert found.optimization.num_train_epochs == 0.5


def test_all_parameters_of_a_trial_are_suggested_at_once() -> None:
    """One question per trial, with the number of the trial."""
    asked: list[int] = []
    suggested = {"learning_rate": 1e-3, "num_train_epochs": 2, "lora_rank": 8}
    study = study_with(suggested, asked)
    trials = [study.ask(fixed_distributions=axes(SPACE)) for _ in range(2)]
    assert [trial.params for trial in trials] == [suggested, suggested]
    assert asked == [0, 1]


def test_a_trial_that_was_queued_keeps_its_own_parameters() -> None:
    """Nothing is suggested for settings that are given."""
    asked: list[int] = []
    study = study_with({}, asked)
    given = {"learning_rate": 2e-3, "num_train_epochs": 1, "lora_rank": 4}
    study.enqueue_trial(given)
    assert study.ask(fixed_distributions=axes(SPACE)).params == given
    assert asked == []


def test_what_is_not_suggested_is_drawn_inside_the_space() -> None:
    """A parameter that a suggestion leaves out still has a value that a trial may take."""
    study = study_with({"learning_rate": 1e-3, "num_train_epochs": 2}, [])
    trial = study.ask(fixed_distributions=axes(SPACE))
    assert trial.params["learning_rate"] == pytest.approx(1e-3)
    assert 1 <= trial.params["lora_rank"] <= 16
