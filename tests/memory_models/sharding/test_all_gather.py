"""Parameters that ZeRO-3 holds gathered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import (
    FinetuningType,
    LossKernel,
    Quantization,
    TrainingSettings,
    changed,
    effective_settings,
    from_flat,
)
from memory_models.sharding.all_gather import GatheredPeaks, gathered_peaks
from tests.support.toy_decoder import WIDE

LORA = from_flat(TrainingSettings, world_size=2, zero_stage=3)
FULL = changed(LORA, finetuning_type=FinetuningType.FULL)
BLOCK = 256 * 256 * 2 + 256 * 128 * 2 + 3 * 256 * 512
"""Elements of one block's matrices: 589,824; two norms of 256 more stay whole."""
HEAD = 2 * 5000 * 256
"""Bytes of the head, and of the embedding."""
LARGEST = 2 * 256 * 512


DEEP = replace(WIDE, num_hidden_layers=6)
"""With two layers the embedding would be fetched ahead in the last block's backward already."""


def whole(settings: TrainingSettings) -> GatheredPeaks:
    """Bytes gathered by the wide toy with six layers."""
    return gathered_peaks(DEEP, effective_settings(settings).layer)


@pytest.mark.parametrize("kernel", list(LossKernel))
def test_the_head_is_whole_while_its_loss_is(kernel: LossKernel) -> None:
    """1,280,000 elements are more than two blocks: nothing else is fetched beside it.

    The fused loss runs as the head's own forward, so DeepSpeed's hooks gather it as well.
    """
    assert whole(changed(LORA, loss_kernel=kernel)).loss == HEAD


@pytest.mark.parametrize("settings", [LORA, FULL], ids=["lora", "full"])
def test_a_recomputed_block_is_there_whole(settings: TrainingSettings) -> None:
    """And what was fetched ahead beside it, one parameter over the limit, one group copied."""
    last = whole(settings).last
    assert 2 * BLOCK <= last <= 4 * (BLOCK + 512) + 3 * LARGEST


def test_a_recomputed_block_of_packed_weights_is_half_a_byte_per_weight() -> None:
    """Two blocks, one matrix over the limit, and one group of two copied."""
    packed = changed(LORA, quantization=Quantization.NF4)
    last = whole(packed).last
    assert BLOCK // 2 <= last <= 2 * (BLOCK // 2 + 512) + 3 * LARGEST // 4
    assert whole(packed).loss == HEAD


def test_without_checkpointing_parameters_are_gathered_twice_and_held_less() -> None:
    """Backward needs one matrix at a time."""
    assert whole(changed(LORA, gradient_checkpointing=False)).first < whole(LORA).first


def test_the_embedding_is_fetched_in_backward_where_its_output_needs_a_gradient() -> None:
    """Checkpointing makes it need one, even where it is frozen."""
    assert whole(LORA).end == HEAD
    assert whole(changed(LORA, gradient_checkpointing=False)).end == 0
