"""What several ranks add to a replayed step."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from memory_models.allocator.replay import reserved_bytes
from memory_models.allocator.replay_distributed import Processes
from memory_models.settings import (
    FinetuningType,
    TrainingSettings,
    changed,
    effective_settings,
    from_flat,
)
from memory_models.states.optimizer import trained_tensors
from tests.support.toy_decoder import WIDE

MIB = 2**20
LORA = from_flat(TrainingSettings, lora_rank=64, sequence_length=4096, world_size=2)
PARAMETERS = 2 * 1_280_000 + 2 * 590_336 + 256
"""Embedding and head, two blocks, the last norm."""


class FakeMemory:
    """Counts what is there by size."""

    def __init__(self) -> None:
        self.there: Counter[int] = Counter()
        self.most = 0

    def alloc(self, size: int, copies: int = 1) -> None:
        """Tensors come."""
        self.there[size] += copies
        self.most = max(self.most, sum(size * count for size, count in self.there.items()))

    def free(self, size: int, copies: int = 1) -> None:
        """Tensors go."""
        self.there[size] -= copies
        assert self.there[size] >= 0

    def empty_cache(self) -> None:
        """Nothing is cached."""


def ranks(**changes: Any) -> tuple[FakeMemory, Processes]:
    """A fake memory and what a rank does to it."""
    memory = FakeMemory()
    return memory, Processes(memory, WIDE, effective_settings(changed(LORA, **changes)))


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("offload", [False, True])
def test_a_step_gives_back_all_but_optimizer_states(stage: int, offload: bool) -> None:
    """Buckets, parts, parameters and fp32 gradients go; two moments stay after the first step."""
    memory, rank = ranks(zero_stage=stage, offload_optimizer=offload and stage > 0)
    for _ in range(2):
        for step in (1, -1):
            for place in (0, 1)[::step]:
                rank.enter(place, 2, step)
                rank.leave()
            if step == 1:
                rank.loss_begins()
                rank.loss_ends()
        rank.backward_begins()
        rank.backward_ends()
    if stage == 1:
        for tensor in trained_tensors(WIDE, rank.settings.method):
            memory.alloc(2 * tensor.elements, tensor.copies)
    if stage:
        rank.step(first=False)
    assert not +memory.there


def test_offload_keeps_wide_gradients_until_the_last_micro_batch() -> None:
    """Of a WIDE block gate, up and down have more than 256 x 256 elements: the first of two ranks
    has two of the three, 512 x 256 in bf16. In the last micro-batch each meets its norm in fp64.
    """
    full = {"finetuning_type": FinetuningType.FULL, "zero_stage": 2, "offload_optimizer": True}
    memory, rank = ranks(**full)
    rank.backward_begins()
    rank.boundary = False
    rank.reduce_layer(outer=True)
    bucket = 2 * 256 * 256
    assert sum(size * count for size, count in memory.there.items()) == bucket + 4 * 512 * 256
    rank.backward_ends()
    assert not +memory.there
    memory.most = 0
    rank.boundary = True
    rank.reduce_layer(outer=True)
    assert memory.most == (2 + 8) * 512 * 256


def test_ddp_takes_its_buckets_before_the_first_step() -> None:
    """fp32 gradients of 64 x (256 + 256) x 2 + 64 x (256 + 128) x 2 + 64 x (256 + 512) x 3
    elements a block, 262,144 in two, in one bucket; each matrix takes whole blocks of 512 bytes.
    """
    memory, rank = ranks()
    rank.loaded()
    elements = 2 * 64 * (2 * 512 + 2 * 384 + 3 * 768)
    assert memory.most == 4 * elements


def test_zero_3_has_two_blocks_gathered_at_a_time() -> None:
    """Frozen matrices and adapters too large to stay whole, in bf16."""
    memory, rank = ranks(zero_stage=3)
    one = sum(rank.layer_parameters)
    for place in (0, 1):
        rank.enter(place, 2, 1)
        rank.leave()
    assert memory.most == 2 * one
    assert one >= 2 * 589_824


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_several_ranks_are_replayed_in_whole_segments(stage: int) -> None:
    """At least the logits: 4,096 x 5,000 at twelve bytes."""
    found = reserved_bytes(WIDE, effective_settings(changed(LORA, zero_stage=stage)))
    assert found % (2 * MIB) == 0
    assert found > 4096 * 5000 * 12


def test_full_fine_tuning_reserves_masters_and_moments_beside_flat_weights() -> None:
    """ZeRO-2 alone: 14 bytes an element stay."""
    full = from_flat(
        TrainingSettings,
        finetuning_type=FinetuningType.FULL,
        sequence_length=8,
        zero_stage=2,
        world_size=1,
    )
    assert reserved_bytes(WIDE, effective_settings(full)) >= 14 * PARAMETERS
