"""Gradients in time under ZeRO, counted by hand on the toy."""

from __future__ import annotations

from typing import Any

import pytest

from memory_models.activations.decoder_layer import layer_memory
from memory_models.settings import (
    FinetuningType,
    LayerSettings,
    Quantization,
    TrainingSettings,
    changed,
    effective_settings,
    from_flat,
)
from memory_models.sharding.gradients import Gradients
from memory_models.sharding.held_gradients import gradients
from memory_models.step_phases import phase_peaks
from tests.support.toy_decoder import TOY, WIDE

FULL = from_flat(
    TrainingSettings,
    finetuning_type=FinetuningType.FULL,
    zero_stage=2,
    offload_optimizer=True,
    sequence_length=8,
)
BUCKET = 2 * 64
"""8 x 8 elements in bf16."""
EMBEDDING = 2 * 256


def held(**changes: Any) -> Gradients:
    """Gradients of the toy in time."""
    return gradients(TOY, effective_settings(changed(FULL, **changes)).states)


def test_offload_takes_the_embeddings_norm_in_fp64() -> None:
    """Its gradient and eight bytes for each of 256 elements, beside the bucket."""
    assert held().end == BUCKET + EMBEDDING + 8 * 256


def test_a_head_of_its_own_is_normed_before_the_last_block() -> None:
    """The same bytes, while every block's activations are there; a moment of its own."""
    assert held().head == BUCKET + EMBEDDING + 8 * 256
    assert phase_peaks(TOY, effective_settings(FULL))[3].phase == "backward, head"


def test_offload_keeps_wide_gradients_of_all_micro_batches_but_the_last() -> None:
    """Gate, up and down of two blocks, 128 elements each, and the head; the embedding twice."""
    twice = held(gradient_accumulation_steps=2)
    assert twice.end == BUCKET + 2 * 6 * 128 + EMBEDDING + 2 * EMBEDDING


def test_zero_3_takes_the_norm_of_a_ranks_part_of_a_gradient() -> None:
    """Half of the embedding's 256 elements at eight bytes, less than a bucket's flat copy."""
    alone = held(zero_stage=3, world_size=2, offload_optimizer=False)
    assert held(zero_stage=3, world_size=2).end == alone.end + 8 * 128 - EMBEDDING


def test_adapters_fill_the_bucket_after_some_blocks() -> None:
    """Rank 1 has 20 + 12 + 12 + 16 + 24 x 3 = 128 elements a block; 64 are full in the first."""
    lora = from_flat(TrainingSettings, lora_rank=1, zero_stage=2, world_size=2)
    assert gradients(TOY, effective_settings(lora).states).bucket is None
    # 256 x 256 elements hold 16 blocks of 4,096, but there are only two.
    full = gradients(WIDE, effective_settings(lora).states).bucket
    assert full is not None
    assert full.layers == 1


@pytest.mark.parametrize("quantization", [None, Quantization.NF4])
def test_norms_of_a_4_bit_base_are_in_half_precision_under_deepspeed(
    quantization: Quantization | None,
) -> None:
    """So a block keeps what it keeps on a plain base; alone it flows in fp32 and keeps more."""
    plain = from_flat(
        TrainingSettings, zero_stage=2, gradient_checkpointing=False, sequence_length=64
    )
    recipe = effective_settings(changed(plain, quantization=quantization)).layer
    alone = changed(plain, zero_stage=0, quantization=Quantization.NF4).layer

    def kept(settings: LayerSettings) -> int:
        found = layer_memory(WIDE, settings, trained=False)
        return sum(count * size[0] for size, count in found.kept)

    assert kept(recipe) == kept(effective_settings(plain).layer)
    assert kept(recipe) < kept(alone)
