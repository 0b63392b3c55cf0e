"""Learning and hardware settings, and the training settings they make together."""

from __future__ import annotations

from memory_models.settings import TrainingSettings, from_flat
from tsplanner.planner.settings import split_settings, training_settings


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
