"""Settings: what no run can have is refused where the record is built."""

from __future__ import annotations

import math

import pytest

from memory_models.settings import FinetuningType, Quantization, TrainingSettings, from_flat


@pytest.mark.parametrize(
    "name",
    [
        "lora_rank",
        "sequence_length",
        "micro_batch_size",
        "gradient_accumulation_steps",
        "world_size",
        "freeze_trainable_layers",
    ],
)
def test_counts_start_at_one(name: str) -> None:
    """Zero of anything that is multiplied is no run."""
    with pytest.raises(ValueError, match=f"^{name} must be at least 1, not 0$"):
        from_flat(TrainingSettings, **{name: 0})


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 2.0, math.nan])
def test_dropout_is_a_share_below_one(dropout: float) -> None:
    """Dropping everything, or no number of it, is refused."""
    with pytest.raises(ValueError, match="lora_dropout must be in"):
        from_flat(TrainingSettings, lora_dropout=dropout)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"zero_stage": 4}, "zero_stage must be 0, 1, 2 or 3, not 4"),
        ({"offload_param": True}, "offload_param needs zero_stage 3"),
        ({"offload_param": True, "zero_stage": 2}, "offload_param needs zero_stage 3"),
        ({"offload_optimizer": True}, "offload_optimizer needs zero_stage 1, 2 or 3"),
        ({"adalora_init_rank": 4}, "adalora_init_rank 4 is below the target rank lora_rank 8"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(
    values: dict[str, object], message: str
) -> None:
    """The sentence names the field and what it needs."""
    with pytest.raises(ValueError, match=message):
        from_flat(TrainingSettings, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", [FinetuningType.FULL, FinetuningType.FREEZE])
@pytest.mark.parametrize("quantization", Quantization)
def test_a_quantised_base_cannot_be_trained(
    method: FinetuningType, quantization: Quantization
) -> None:
    """Quantised weights take no gradient: only adapters go on them."""
    with pytest.raises(ValueError, match="a quantised base cannot be trained"):
        from_flat(TrainingSettings, finetuning_type=method, quantization=quantization)


@pytest.mark.parametrize(
    ("values", "rank"),
    [
        ({"lora_rank": 8}, 8),
        ({"lora_rank": 8, "finetuning_type": FinetuningType.ADALORA}, 12),
        ({"lora_rank": 1, "finetuning_type": FinetuningType.ADALORA}, 1),
        (
            {"lora_rank": 8, "adalora_init_rank": 9, "finetuning_type": FinetuningType.ADALORA},
            9,
        ),
        ({"lora_rank": 8, "adalora_init_rank": 12}, 8),
    ],
)
def test_adalora_starts_with_one_and_a_half_times_its_target_rank(
    values: dict[str, object], rank: int
) -> None:
    """Memory holds the initial rank; the other methods know only one."""
    assert from_flat(TrainingSettings, **values).method.adapter_rank == rank  # type: ignore[arg-type]
