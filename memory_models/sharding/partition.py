"""How DeepSpeed partitions the trained tensors: flat groups, shares of a process, sub-groups.

Sources: transformers trainer_pt_utils.py (``get_parameter_names``: norms and biases form a
group without weight decay); deepspeed runtime/zero/stage_1_and_2.py (``_round_robin_reorder``,
``get_partition_info``), stage3.py (``_create_fp16_sub_groups``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from memory_models.architecture import Architecture
from memory_models.settings import StateSettings, TrainingSettings
from memory_models.sharding.deepspeed_config import reduce_bucket_elements, sub_group_elements
from memory_models.states.optimizer import Tensor, trained_tensors
from memory_models.units import ceil_div, round_up

ALIGNMENT = 2
"""DeepSpeed pads a flat group to a multiple of this number of elements per process: NCCL aligns
half-precision elements to 4 bytes."""

MOST_PROCESSES = 1024
"""Above this number of processes the overlapping tensors are estimated, not counted."""


class Partition(NamedTuple):
    """Elements of the trained tensors, and of the fullest process's partition of them."""

    total: int
    """Elements of all trained tensors, padded (stages 1 and 2)."""
    shares: tuple[int, ...]
    """Elements of this process in every flat group or, in stage 3, in every sub-group."""
    overlapping_elements: int
    """Elements of all tensors that overlap this process's partition. In stages 1 and 2 the process
    holds whole gradients of these tensors."""
    largest: int
    """Elements of the largest tensor."""
    largest_in_layers: int
    """Elements of the largest tensor inside the decoder layers."""
    sizes: tuple[int, ...]
    """Elements of every tensor, in the order of the model."""
    largest_partition: int
    """Elements of one process in the largest tensor; DeepSpeed copies them to fp64 for the norm."""
    over_bucket_elements: int
    """The share of ``overlapping_elements`` in tensors of the layers that exceed the bucket."""

    @property
    def share(self) -> int:
        """Elements of this process in all groups."""
        return sum(self.shares)


def in_order(tensors: Sequence[Tensor]) -> Iterator[Tensor]:
    """Every copy of the trained tensors in the order of the model: layer by layer."""
    layers = max(tensor.copies for tensor in tensors)
    inner = [tensor for tensor in tensors if tensor.copies == layers]
    yield from (tensor for tensor in tensors if tensor.copies != layers and tensor.embedding)
    for _ in range(layers):
        yield from inner
    for tensor in tensors:
        if tensor.copies != layers and not tensor.embedding:
            yield from [tensor] * tensor.copies


@lru_cache(maxsize=4096)
def partition_of(architecture: Architecture, settings: StateSettings) -> Partition:
    """The partition of the trained tensors under these settings."""
    return _partition(
        trained_tensors(architecture, settings.method),
        reduce_bucket_elements(architecture, settings.sharding.deepspeed),
        settings.sharding.world_size,
        adapters=settings.method.uses_adapter,
        sub_group=sub_group_elements(settings.sharding.deepspeed)
        if settings.sharding.zero_stage == 3
        else None,
    )


@lru_cache(maxsize=1024)
def _partition(
    tensors: tuple[Tensor, ...],
    bucket: int,
    world_size: int,
    *,
    adapters: bool,
    sub_group: int | None,
) -> Partition:
    """The partition by the few facts that decide it.

    ``sub_group``: elements of a sub-group of stage 3, which partitions each tensor; None: no
    stage 3.
    """
    layers = max(tensor.copies for tensor in tensors)
    ordered = list(in_order(tensors))
    groups = _groups(ordered, adapters=adapters)
    padded = [round_up(sum(group), ALIGNMENT * world_size) for group in groups]
    if sub_group is not None:
        shares = tuple(
            share for group in groups for share in _sub_groups(group, world_size, sub_group)
        )
    else:
        shares = tuple(size // world_size for size in padded)
    # The norm of a gradient is taken of the elements that this process owns. Stages 1 and 2 deal
    # out whole tensors, so one process may own the largest tensor as far as its share reaches.
    largest = max(tensor.elements for tensor in tensors)
    inner = max(tensor.elements for tensor in tensors if tensor.copies == layers)
    wide = range(bucket + 1, inner + 1)
    return Partition(
        total=sum(padded),
        shares=shares,
        overlapping_elements=_overlapping_elements(groups, padded, world_size),
        largest=largest,
        largest_in_layers=inner,
        sizes=tuple(tensor.elements for tensor in ordered),
        largest_partition=min(largest, max(shares))
        if sub_group is None
        else ceil_div(largest, world_size),
        over_bucket_elements=_overlapping_elements(groups, padded, world_size, wide) if wide else 0,
    )


def _groups(ordered: Sequence[Tensor], *, adapters: bool) -> list[list[int]]:
    """Elements of the tensors by group of the optimizer: matrices, then norms and biases."""
    # The Trainer decays every adapter matrix, so adapters form one group.
    if adapters:
        return [[tensor.elements for tensor in ordered]]
    matrices = [tensor.elements for tensor in ordered if tensor.rows > 1]
    vectors = [tensor.elements for tensor in ordered if tensor.rows == 1]
    return [group for group in (matrices, vectors) if group]


def _sub_groups(sizes: Sequence[int], world_size: int, limit: int) -> Iterator[int]:
    """Elements of one process in each sub-group; a sub-group ends when it reaches the limit."""
    total = 0
    for size in sizes:
        total += ceil_div(size, world_size)
        if total >= limit:
            yield total
            total = 0
    if total:
        yield total


def _overlapping_elements(
    groups: Sequence[Sequence[int]],
    padded: Sequence[int],
    world_size: int,
    counted: range | None = None,
) -> int:
    """Elements of the tensors that overlap the partition of one process, at the process with most.

    DeepSpeed deals the tensors out in turns (``round_robin_gradients``), then lays them end to end.
    ``counted``: only tensors whose number of elements is in this range count.
    """
    if world_size > MOST_PROCESSES:
        # An even share plus one whole tensor at the border is an upper bound, and cheap to count.
        kept = [[size for size in group if counted is None or size in counted] for group in groups]
        return sum(sum(group) // world_size + max(group) for group in kept if group)
    found = [0] * world_size
    for group, total in zip(groups, padded, strict=True):
        share, place = total // world_size, 0
        for turn in range(min(world_size, len(group))):
            # Round-robin: process 0 gets tensors 0, N, 2N and so on, process 1 gets 1, N + 1, ...
            for size in group[turn::world_size]:
                if counted is None or size in counted:
                    for process in range(place // share, (place + size - 1) // share + 1):
                        found[process] += size
                place += size
    return max(found)


def elements_over_bucket(architecture: Architecture, settings: TrainingSettings) -> Iterator[int]:
    """Elements of one process's gradients of one layer that exceed the bucket."""
    limit = reduce_bucket_elements(architecture, settings.sharding.deepspeed)
    world_size = settings.sharding.world_size
    tensors = trained_tensors(architecture, settings.method)
    layers = max(tensor.copies for tensor in tensors)
    found = [t.elements for t in tensors if t.copies == layers and t.elements > limit]
    yield from found[::world_size]
