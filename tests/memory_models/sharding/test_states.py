"""What stays on a rank when several share the work, and what goes to the host."""

from __future__ import annotations

from typing import Any

import pytest

from memory_models.settings import (
    FinetuningType,
    Optimizer,
    Quantization,
    TrainingSettings,
    changed,
    effective_settings,
    from_flat,
)
from memory_models.sharding.states import ModelStates, model_states
from tests.support.toy_decoder import TOY, WIDE

LORA = from_flat(TrainingSettings, lora_rank=2)
"""28 matrices, 512 elements; each takes a block of 512 bytes where it is alone."""
FULL = changed(LORA, finetuning_type=FinetuningType.FULL)


def on_ranks(settings: TrainingSettings, ranks: int, stage: int, **offload: Any) -> ModelStates:
    """The toy as one of the ranks holds it."""
    asked = changed(settings, world_size=ranks, zero_stage=stage, **offload)
    return model_states(TOY, effective_settings(asked).states)


def test_one_rank_without_zero_holds_everything_and_no_buffer() -> None:
    """512 adapter elements in fp32, two moments in blocks of 512 bytes."""
    found = on_ranks(LORA, 1, 0)
    assert (found.trained, found.states, found.buffers) == (2048, 2 * 28 * 512, 0)


def test_plain_data_parallelism_copies_all_gradients_into_buckets() -> None:
    """DDP's reducer holds the gradients once more."""
    found = on_ranks(LORA, 4, 0)
    assert found.states == on_ranks(LORA, 1, 0).states
    assert found.buffers == 28 * 512


@pytest.mark.parametrize("stage", [1, 2])
def test_zero_1_and_2_share_out_masters_and_moments(stage: int) -> None:
    """Adapters are flat, in bf16; of 512 elements each of two ranks steps 256 in fp32.

    Masters and two moments, 1024 bytes each.
    """
    found = on_ranks(LORA, 2, stage)
    assert (found.trained, found.states, found.buffers) == (1024, 3 * 1024, 0)
    assert found.weights == on_ranks(LORA, 1, 0).weights


def test_full_fine_tuning_pays_twelve_bytes_an_element_for_fp32_masters_and_moments() -> None:
    """One rank steps 1664 elements of matrices and 40 of norms, in blocks of 512 bytes.

    1664 x 4 = 6656 is 13 blocks; 40 x 4 is one.
    """
    assert on_ranks(FULL, 1, 2).states == 3 * (6656 + 512)


def test_zero_3_shares_out_the_frozen_base_too() -> None:
    """Every tensor's half is at most a block of 512 bytes, so rounding hides it; flat ones show:
    adapters 512 bytes; the bucket of 8 x 8 and the flat gradients 512 each. Norms (40 elements) and
    adapter matrices of at most 80 elements (all 512) are whole in bf16 as well.
    """
    found = on_ranks(LORA, 2, 3)
    assert (found.trained, found.states) == (512, 3 * 1024)
    assert found.buffers == 512 + 512 + 2 * (32 + 512)


def test_one_rank_alone_holds_no_second_copy_of_small_parameters() -> None:
    """ZeRO-3 with nobody to share with uses its parts as they are."""
    assert on_ranks(LORA, 1, 3).buffers == 512 + 1024


def test_the_base_shrinks_with_the_ranks() -> None:
    """4-bit matrices halve; their constants are no parameters and stay."""
    nf4 = from_flat(TrainingSettings, quantization=Quantization.NF4, zero_stage=3)
    one, two, four = (
        model_states(WIDE, effective_settings(changed(nf4, world_size=ranks)).states).weights
        for ranks in (1, 2, 4)
    )
    assert one > two > four > one // 4


def test_packed_bytes_are_halved_and_their_constants_are_whole() -> None:
    """Per block 589,824 weights: 294,912 packed bytes, of which each of two ranks has half, and a
    scale of 4 bytes per 64 weights and seven code books, 36,864 + 3,584, of which each has all.

    Of the two norms of a block, in one tensor, each has 512 bytes, and of the last norm as many as
    a block of the allocator. Halves of embedding and head, 1,280,000 bytes, are 16 to a segment of
    20 MiB: 1,310,720 each.
    """
    nf4 = from_flat(TrainingSettings, quantization=Quantization.NF4, zero_stage=3, world_size=2)
    found = model_states(WIDE, effective_settings(nf4).states).weights
    packed, constants = 294_912 // 2, 36_864 + 3_584
    assert found == 2 * (packed + constants + 512) + 512 + 2 * 1_310_720
    double = changed(nf4, quantization=Quantization.NF4_DQ)
    # A scale takes a byte, and 256 of them 4 more: 9,216 + 144; two code books each.
    fewer = model_states(WIDE, effective_settings(double).states).weights
    assert found - fewer == 2 * (36_864 + 3_584 - (9_216 + 144 + 2 * 3_584))


def test_paged_moments_of_a_flat_share_are_managed_memory() -> None:
    """One rank's 1,048,576 adapter elements at 8 bytes are too many for the allocator."""
    asked = from_flat(
        TrainingSettings,
        lora_rank=64,
        optimizer=Optimizer.PAGED_ADAMW_32BIT,
        zero_stage=2,
        lora_target=("q_proj",),
    )
    found = model_states(WIDE, effective_settings(asked).states)
    # q_proj: 64 x (256 + 256) elements on two layers.
    assert found.paged == 8 * 65_536 or found.states == 12 * 65_536


def test_offloaded_states_leave_a_buffer_of_the_largest_gradient() -> None:
    """Masters, gradients and states are on the host: nothing of them stays here.

    The largest adapter matrix has 16 x 2 elements.
    """
    found = on_ranks(LORA, 2, 2, offload_optimizer=True)
    assert (found.states, found.buffers) == (0, 512)
    # Pinned: 2 x 1024 of masters and gradients, 512 of halves, 64; pageable moments 2 x 1024.
    assert found.host == 2 * 1024 + 512 + 64 + 2 * 1024


def test_offloaded_parameters_leave_only_what_is_whole_on_every_rank() -> None:
    """Matrices, embedding and head are pinned part by part on the host."""
    found = on_ranks(LORA, 2, 3, offload_param=True)
    assert (found.weights, found.trained) == (0, 0)
    # Parts in bf16, powers of two: a block 64 + 32 + 32 + 64 + 3 x 128 and two norms in one tensor
    # of 16, embedding and head 256 each, the last norm 8.
    base = 2 * (64 + 32 + 32 + 64 + 3 * 128 + 16) + 2 * 256 + 8
    # Adapter matrices, halved, at two bytes: as many as their elements, then flat once more.
    # What is stepped here, 256 elements, reaches the host in fp32.
    assert found.host == base + 512 + 512 + 4 * 256
