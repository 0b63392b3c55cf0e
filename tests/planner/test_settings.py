"""Learning and hardware settings, and the training settings they make together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from memory_models.settings import TrainingSettings, from_flat
from tsplanner.planner.settings import (
    DEFAULT_EFFECTIVE_BATCH,
    HardwareSettings,
    LearningSettings,
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
