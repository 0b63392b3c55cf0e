"""What is advised on epochs, rank and learning rate, and by which rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_models.settings import FinetuningType, changed, from_flat
from tsplanner.planner.advice import (
    Suggestion,
    advice,
    default_learning_rate,
    epochs_for,
    largest_rank,
    with_rank,
)
from tsplanner.planner.explain.sentences import advice_sentence
from tsplanner.planner.plan import DatasetRef, no_dataset
from tsplanner.planner.settings import LearningSettings

ROWS = changed(no_dataset(1600), rows_kept=414, rows_total=417)


def advised(
    learning: LearningSettings | None = None,
    dataset: DatasetRef = ROWS,
    *,
    parameters: int = 14_876_137_488,
    steps: int = 78,
    most: int = 32,
) -> dict[str, Suggestion]:
    """Ask for advice; ranks up to ``most`` fit."""
    found = advice(
        learning or LearningSettings(),
        dataset,
        parameters,
        steps,
        lambda settings: settings.method.lora_rank <= most,
    )
    return {row.setting: row for row in found}


@pytest.mark.parametrize(
    ("rows", "epochs"), [(414, 3), (2000, 3), (2001, 2), (20_000, 2), (20_001, 1), (10**6, 1)]
)
def test_fewer_rows_are_passed_more_often(rows, epochs):
    """Three passes up to 2,000 rows, two up to 20,000, then one; the search tries no more."""
    found = advised(dataset=changed(ROWS, rows_kept=rows))["num_train_epochs"]

    assert found.value == epochs == epochs_for(rows)[-1]
    rule = advice_sentence(found.rules)
    assert f"(rows: {rows:,}, " in rule
    assert f"samples in all: {epochs * rows:,} " in rule
    assert "2407.13906" in found.source


@pytest.mark.parametrize(("most", "rank"), [(32, 32), (100, 32), (16, 16), (5, 4), (0, 8)])
def test_the_largest_rank_that_fits_is_advised(most, rank):
    """Where not even the smallest fits, the plan's own stays."""
    found = advised(most=most)["lora_rank"]

    assert (found.value, found.planned) == (rank, 8)
    assert "31 of 35 models" in advice_sentence(found.rules)


def test_a_plans_own_larger_rank_is_not_taken_down():
    """Rank 64 that fits is the largest there is."""
    assert advised(from_flat(LearningSettings, lora_rank=64), most=64)["lora_rank"].value == 64


@pytest.mark.parametrize(
    ("method", "parameters", "rate"),
    [
        (FinetuningType.LORA, 14_876_137_488, 3e-4),
        (FinetuningType.LORA, 3_000_000_000, 1e-3),
        (FinetuningType.FULL, 14_876_137_488, 1e-5),
    ],
)
def test_learning_rate_goes_by_method_and_model_size(method, parameters, rate):
    """The prior of the search, word for word the same number."""
    learning = from_flat(LearningSettings, finetuning_type=method)
    found = advised(learning, parameters=parameters)

    assert found["learning_rate"].value == pytest.approx(rate)
    assert ("lora_rank" in found) == (method is FinetuningType.LORA)


def test_a_very_short_run_may_take_a_higher_rate():
    """15 times full fine-tuning's rate instead of 10, under 100 steps."""
    assert "up to 1.5 times that (steps: 78)" in advice_sentence(advised()["learning_rate"].rules)
    assert "stand up" not in advice_sentence(advised(steps=100)["learning_rate"].rules)


def test_without_a_dataset_nothing_is_said_of_epochs():
    """Nobody knows how many rows there are."""
    assert set(advised(dataset=no_dataset(1600))) == {"lora_rank", "learning_rate"}


def test_another_rank_keeps_alphas_ratio():
    """Alpha 16 of rank 8 is 64 of rank 32."""
    learning = from_flat(LearningSettings, lora_rank=8, lora_alpha=16.0)

    assert with_rank(learning, 32).method.lora_alpha == 64.0
    assert largest_rank(learning, (8, 16, 32), lambda found: found.method.lora_alpha <= 32) == 16


@given(st.integers(1, 10**12))
def test_full_and_freeze_start_at_no_more_than_a_tenth_of_an_adapters_rate(
    parameters: int,
) -> None:
    """Whatever the size of the model is."""
    adapter = default_learning_rate(FinetuningType.LORA, parameters)
    for method in (FinetuningType.FULL, FinetuningType.FREEZE):
        assert default_learning_rate(method, parameters) <= adapter / 10 * (1 + 1e-9)


@pytest.mark.parametrize(
    ("parameters", "rate"),
    [
        (100_000_000, 3e-4),
        (494_000_000, 2e-5),
        (1_540_000_000, 2e-5),
        (7_620_000_000, 1e-5),
        (8_030_000_000, 1e-5),
        (14_770_000_000, 1e-5),
        (32_760_000_000, 5e-6),
        (70_550_000_000, 5e-6),
    ],
)
def test_full_fine_tuning_starts_at_the_rate_of_published_recipes(
    parameters: int, rate: float
) -> None:
    """TRL's 0.5B, LLaMA-Factory's 8B, Alpaca's 13B; a tenth of that for the largest is too much."""
    assert default_learning_rate(FinetuningType.FULL, parameters) == rate
    assert default_learning_rate(FinetuningType.FREEZE, parameters) == rate


@pytest.mark.parametrize(
    ("parameters", "rate"),
    [
        (100_000_000, 3e-3),
        (100_000_001, 1e-3),
        (4_500_000_000, 1e-3),
        (4_500_000_001, 3e-4),
    ],
)
def test_rates_change_above_the_sizes_that_they_are_given_for(parameters: int, rate: float) -> None:
    """A model of exactly that size still takes the smaller models' rate."""
    assert default_learning_rate(FinetuningType.DORA, parameters) == rate
