"""Host bytes of offloaded states and parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from memory_models.settings import (
    FinetuningType,
    Quantization,
    TrainingSettings,
    changed,
    effective_settings,
    from_flat,
)
from memory_models.sharding.offload import pinned_bytes
from memory_models.sharding.states import ModelStates, model_states
from tests.support.toy_decoder import TIED, TOY, WIDE

LORA = from_flat(TrainingSettings, lora_rank=2)
"""28 matrices, 512 elements; each takes a block of 512 bytes where it is alone."""


FULL = changed(LORA, finetuning_type=FinetuningType.FULL)


def on_ranks(settings: TrainingSettings, ranks: int, stage: int, **offload: Any) -> ModelStates:
    """The toy as one of the ranks holds it."""
    asked = changed(settings, world_size=ranks, zero_stage=stage, **offload)
    return model_states(TOY, effective_settings(asked).states)


def test_pinned_memory_comes_in_powers_of_two() -> None:
    """PyTorch's host allocator rounds up."""
    assert [pinned_bytes(size) for size in (0, 1, 3, 512, 513)] == [0, 1, 4, 512, 1024]


def test_accumulated_gradients_are_pinned_one_by_one() -> None:
    """Those that reach into the rank's part: half of 512 elements, at two bytes, and a border."""
    twice = changed(LORA, gradient_accumulation_steps=2)
    once = on_ranks(LORA, 2, 2, offload_optimizer=True).host
    assert on_ranks(twice, 2, 2, offload_optimizer=True).host - once in range(512, 512 + 128)


def test_zero_3_offload_pins_gradients_and_no_masters() -> None:
    """Shares of 256 elements: masters pageable and fp32 gradients pinned, 1024 each; the flat
    gradients 512; moments 2 x 1024.
    """
    assert on_ranks(LORA, 2, 3, offload_optimizer=True).host == 1024 + 1024 + 512 + 2 * 1024


def test_a_tied_heads_part_was_pinned_before_it_was_tied() -> None:
    """TIED's embedding, 256 elements, halved, in bf16: PyTorch keeps what was pinned once.

    Without a head of its own (256 pinned bytes less) it takes as much as the plain toy.
    """
    asked = changed(LORA, world_size=2, zero_stage=3, offload_param=True)
    plain, tied = (
        model_states(shape, effective_settings(asked).states).host for shape in (TOY, TIED)
    )
    assert tied == plain


def test_a_trained_part_passes_through_the_host_under_zero_3() -> None:
    """A 14-billion share of two ranks is put in one piece there, 13 GiB less what comes later."""
    huge = replace(WIDE, num_hidden_layers=24_000)
    asked = changed(FULL, world_size=2, zero_stage=3)
    # 24,000 blocks of 590,336 elements, embedding, head and last norm; each tensor halved.
    elements = 24_000 * 590_336 + 2 * 1_280_000 + 256
    assert model_states(huge, effective_settings(asked).states).host == elements - 512 * 2**20


def test_a_packed_base_is_built_whole_on_the_host_by_each_process() -> None:
    """Whatever the number of ranks; 24,000 blocks, 7.5 GiB, less what comes later.

    A block is 294,912 packed bytes, 40,448 of constants and 1,024 of norms. The tables of 2,560,000
    bytes are counted as on a GPU: eight to a segment of 20 MiB.
    """
    huge = replace(WIDE, num_hidden_layers=24_000)
    packed = changed(LORA, quantization=Quantization.NF4, zero_stage=3)
    whole = 24_000 * (294_912 + 40_448 + 1_024) + 2 * 2_621_440 + 512
    for ranks in (2, 8):
        asked = effective_settings(changed(packed, world_size=ranks))
        assert model_states(huge, asked.states).host == whole - 512 * 2**20
