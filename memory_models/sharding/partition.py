"""Trained tensors as DeepSpeed cuts them: flat groups, shares of a rank, steps of a share.

Sources: transformers trainer_pt_utils.py (``get_parameter_names``: norms and biases have a group
without weight decay); deepspeed runtime/zero/stage_1_and_2.py (``_round_robin_reorder``,
``get_partition_info``), stage3.py (``_create_fp16_sub_groups``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from memory_models.architecture import Architecture
from memory_models.settings import StateSettings
from memory_models.sharding.deepspeed_config import SUB_GROUP_ELEMENTS, reduce_bucket_elements
from memory_models.states.optimizer import Tensor, trained_tensors
from memory_models.units import ceil_div, round_up

ALIGNMENT = 2
"""A flat group is padded to this many elements a rank (NCCL's 4-byte alignment of halves)."""

MOST_PROCESSES = 1024
"""Beyond as many ranks a rank's tensors are not told one by one."""


class Partition(NamedTuple):
    """Elements of the trained tensors, and of what the fullest rank has of them."""

    total: int
    """All of them, padded (stages 1 and 2)."""
    shares: tuple[int, ...]
    """This rank's part of every flat group or, in stage 3, of every sub-group stepped at once."""
    overlapping_elements: int
    """Whole tensors that reach into this rank's part: what it holds gradients of (stages 1, 2)."""
    largest: int
    """The largest tensor."""
    largest_in_layers: int
    """The largest inside the blocks."""
    sizes: tuple[int, ...]
    """Every tensor in the order of the model."""
    largest_partition: int
    """What one rank has of the largest tensor: its gradient's norm is taken in fp64 at once."""
    over_bucket_elements: int
    """Of the tensors inside the blocks that are counted as touched, those that no bucket holds."""

    @property
    def share(self) -> int:
        """This rank's part of all groups."""
        return sum(self.shares)


def in_order(tensors: Sequence[Tensor]) -> Iterator[Tensor]:
    """Every copy of the trained tensors in the order of the model: block by block."""
    layers = max(tensor.copies for tensor in tensors)
    blocks = [tensor for tensor in tensors if tensor.copies == layers]
    yield from (tensor for tensor in tensors if tensor.copies != layers and tensor.embedding)
    for _ in range(layers):
        yield from blocks
    for tensor in tensors:
        if tensor.copies != layers and not tensor.embedding:
            yield from [tensor] * tensor.copies


@lru_cache(maxsize=4096)
def partition_of(architecture: Architecture, settings: StateSettings) -> Partition:
    """How these settings partition the trained tensors; ``settings``: lengths and batches left out."""
    return _partition(
        trained_tensors(architecture, settings.method),
        reduce_bucket_elements(architecture),
        settings.sharding.world_size,
        adapters=settings.method.uses_adapter,
        every=settings.sharding.zero_stage == 3,
    )


@lru_cache(maxsize=1024)
def _partition(
    tensors: tuple[Tensor, ...], bucket: int, ranks: int, *, adapters: bool, every: bool
) -> Partition:
    """What few settings decide, once; ``every``: tensors are partition one by one."""
    layers = max(tensor.copies for tensor in tensors)
    ordered = list(in_order(tensors))
    groups = _groups(ordered, adapters=adapters)
    padded = [round_up(sum(group), ALIGNMENT * ranks) for group in groups]
    if every:
        shares = tuple(share for group in groups for share in _sub_groups(group, ranks))
    else:
        shares = tuple(size // ranks for size in padded)
    largest = max(tensor.elements for tensor in tensors)
    inner = max(tensor.elements for tensor in tensors if tensor.copies == layers)
    wide = range(bucket + 1, inner + 1)
    return Partition(
        total=sum(padded),
        shares=shares,
        overlapping_elements=_overlapping_elements(groups, padded, ranks),
        largest=largest,
        largest_in_layers=inner,
        sizes=tuple(tensor.elements for tensor in ordered),
        largest_partition=ceil_div(largest, ranks) if every else min(largest, max(shares)),
        over_bucket_elements=_overlapping_elements(groups, padded, ranks, wide) if wide else 0,
    )


def _groups(ordered: Sequence[Tensor], *, adapters: bool) -> list[list[int]]:
    """Elements by group of the optimizer: matrices, then norms and biases."""
    if adapters:
        return [[tensor.elements for tensor in ordered]]
    matrices = [tensor.elements for tensor in ordered if tensor.rows > 1]
    vectors = [tensor.elements for tensor in ordered if tensor.rows == 1]
    return [group for group in (matrices, vectors) if group]


def _sub_groups(sizes: Sequence[int], ranks: int) -> Iterator[int]:
    """Elements of one rank's shares, closed as soon as they reach the limit."""
    total = 0
    for size in sizes:
        total += ceil_div(size, ranks)
        if total >= SUB_GROUP_ELEMENTS:
            yield total
            total = 0
    if total:
        yield total


def _overlapping_elements(
    groups: Sequence[Sequence[int]],
    padded: Sequence[int],
    ranks: int,
    counted: range | None = None,
) -> int:
    """Elements of the tensors that reach into the part of the rank that has most of them.

    Tensors are dealt out in turns (``round_robin_gradients``), then laid end to end. ``counted``:
    only tensors of as many elements.
    """
    if ranks > MOST_PROCESSES:
        kept = [[size for size in group if counted is None or size in counted] for group in groups]
        return sum(sum(group) // ranks + max(group) for group in kept if group)
    found = [0] * ranks
    for group, total in zip(groups, padded, strict=True):
        share, place = total // ranks, 0
        for turn in range(min(ranks, len(group))):
            for size in group[turn::ranks]:
                if counted is None or size in counted:
                    for rank in range(place // share, (place + size - 1) // share + 1):
                        found[rank] += size
                place += size
    return max(found)
