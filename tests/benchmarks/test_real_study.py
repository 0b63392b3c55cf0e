"""Real studies: how fresh seeds are judged against what the search said."""

from __future__ import annotations

import math

import pytest

from benchmarks.tune.real_study_view import half_width, summary

LEARNING = {"lora_rank": 8, "learning_rate": 1e-3, "num_train_epochs": 3}


def study(**changed: object) -> dict[str, object]:
    """A study whose winner was used and held on fresh seeds."""
    tune = {
        "is_default": False,
        "learning": LEARNING,
        "difference": -0.02,
        "half_width": 0.01,
        "seconds": 60.0,
    }
    fresh = {"mean": -0.015, "half_width": 0.004}
    return {
        "tune": tune,
        "chosen_fresh": fresh,
        "challenger_fresh": fresh,
        "covered": True,
    } | changed


def test_interval_over_three_seeds_uses_students_quantile() -> None:
    """Three differences of standard deviation 0.01: 3 seeds have 2 degrees of freedom, 4.30."""
    assert half_width([0.0, 0.01, 0.02]) == pytest.approx(4.30 * 0.01 / math.sqrt(3))


def test_one_seed_has_no_interval() -> None:
    """The spread between seeds is unknown."""
    assert half_width([0.1]) is None


def test_a_choice_that_is_worse_on_fresh_seeds_is_counted() -> None:
    """One of two studies recommends what loses 0.003 nats."""
    worse = study(chosen_fresh={"mean": 0.003, "half_width": 0.001}, covered=False)
    lines, count = summary({"studies": {"100": study(), "200": worse}})
    assert count == 1
    assert "MISSES" in lines[1]
    assert lines[-1] == "worse than the baseline: 1; intervals that cover: 1 of 2"


def test_a_study_cut_off_is_told_and_not_counted() -> None:
    """Time ran out before the fresh seeds of the second study."""
    lines, count = summary({"studies": {"100": study(), "200": {}}})
    assert count == 0
    assert lines[1] == "seed 200: not finished"
