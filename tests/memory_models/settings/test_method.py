"""What is trained: shares and ranks that no adapter can have are refused."""

from __future__ import annotations

import math

import pytest

from memory_models.settings import FinetuningType, TrainingSettings, from_flat


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 2.0, math.nan])
def test_dropout_is_a_share_below_one(dropout: float) -> None:
    """Dropping everything, or no number of it, is refused."""
    with pytest.raises(ValueError, match="lora_dropout must be in"):
        from_flat(TrainingSettings, lora_dropout=dropout)


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
