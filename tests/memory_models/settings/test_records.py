"""The records of settings: values that no run can have are refused."""

from __future__ import annotations

import math

import pytest

from memory_models.settings import BatchLayout, FinetuningType, TrainingSettings, from_flat


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


def test_no_setting_counts_more_than_a_run_can() -> None:
    """A micro-batch of 2**40 rows is a slip, and every divisor of it would be tried."""
    assert BatchLayout(micro_batch_size=2**24).micro_batch_size == 2**24
    with pytest.raises(ValueError, match="micro_batch_size must be at most 16777216"):
        BatchLayout(micro_batch_size=2**24 + 1)


def test_machines_have_as_many_processes_as_each_other() -> None:
    """Eight over two machines are four each; eight over three cannot be."""
    sharding = from_flat(TrainingSettings, world_size=8, nodes=2).sharding
    assert sharding.processes_per_node == 4
    with pytest.raises(ValueError, match="world_size 8 counts the GPUs of all machines, and nodes"):
        from_flat(TrainingSettings, world_size=8, nodes=3)
