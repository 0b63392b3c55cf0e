"""Learning and hardware settings, and the training settings they make together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_models.settings import TrainingSettings, from_flat
from tsplanner.planner.settings import (
    DEFAULT_EFFECTIVE_BATCH,
    HardwareSettings,
    LearningSettings,
    pace_given,
    split_settings,
    training_settings,
)


def test_pinned_settings_are_the_training_settings_again() -> None:
    """There and back: 2 GPUs x micro-batch 3 x accumulation 4 are an effective batch of 24."""
    wanted = from_flat(
        TrainingSettings,
        lora_rank=5,
        lora_target=("q_proj",),
        lora_dropout=0.25,
        sequence_length=777,
        micro_batch_size=3,
        gradient_accumulation_steps=4,
        world_size=2,
        zero_stage=2,
        checkpointed_layers=11,
    )
    learning, hardware = split_settings(wanted)
    assert learning.optimization.effective_batch_size == 24
    assert training_settings(learning, hardware, 777) == wanted


@given(st.integers(1, 8), st.integers(1, 64), st.integers(1, 64))
def test_the_effective_batch_is_what_all_gpus_see_in_a_step(
    world_size: int, micro: int, accumulation: int
) -> None:
    """GPUs x micro-batch x accumulation."""
    hardware = from_flat(
        HardwareSettings,
        world_size=world_size,
        micro_batch_size=micro,
        gradient_accumulation_steps=accumulation,
    )
    assert hardware.effective_batch_size == world_size * micro * accumulation


def test_defaults_of_both_kinds_agree_on_the_effective_batch() -> None:
    """What is asked for by default is what the default hardware gives."""
    batch = LearningSettings().optimization.effective_batch_size
    assert HardwareSettings().effective_batch_size == batch == DEFAULT_EFFECTIVE_BATCH


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"num_train_epochs": 0}, "num_train_epochs must be above 0"),
        ({"neftune_noise_alpha": -1.0}, "neftune_noise_alpha must be above 0"),
        ({"warmup_steps": -1}, "warmup_steps cannot be below 0"),
        ({"warmup_ratio": 1.0}, "warmup_ratio must be in"),
        ({"weight_decay": -0.1}, "weight_decay cannot be below 0"),
        ({"max_grad_norm": float("nan")}, "max_grad_norm cannot be below 0"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
        ({"eval_steps": 2**40}, "eval_steps must be at most"),
        ({"save_steps": 0}, "save_steps must be at least 1"),
        ({"early_stopping_patience": 0}, "early_stopping_patience must be at least 1"),
        (
            {"early_stopping_patience": 2, "validation_fraction": 0.0},
            "early_stopping_patience needs held-out rows",
        ),
    ],
)
def test_a_length_or_pace_that_no_run_can_have_is_refused(
    values: dict[str, object], says: str
) -> None:
    """By the name of the setting."""
    with pytest.raises(ValueError, match=says):
        from_flat(LearningSettings, **values)


def test_what_is_not_usual_in_the_pace_is_known_by_name() -> None:
    """Rate, schedule and epochs are no part of it: they are told apart by themselves."""
    assert pace_given(from_flat(LearningSettings, learning_rate=1.0, num_train_epochs=9)) == {}
    noisy = from_flat(LearningSettings, neftune_noise_alpha=5.0, weight_decay=0.1)
    assert pace_given(noisy) == {"weight_decay": 0.1, "neftune_noise_alpha": 5.0}
