"""Host bytes of one process if the optimizer or the parameters are offloaded.

Pinned memory comes from PyTorch's caching host allocator, which rounds every request up to a power
of two and returns nothing to the system. Sources: ATen/core/CachingHostAllocator.h; deepspeed
runtime/zero/stage_1_and_2.py and stage3.py (``get_accelerator().pin_memory``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from memory_models.architecture import Architecture
from memory_models.settings import Optimizer, StateSettings
from memory_models.sharding.held_gradients import MASTER_BYTES
from memory_models.sharding.partition import Partition, partition_of
from memory_models.states.optimizer import STATE_BYTES, Tensor, trained_element_bytes
from memory_models.states.storage import BYTES
from memory_models.states.weights import base_weight_bytes, embedding_parameters
from memory_models.units import MIB, ceil_div

LATER_BYTES = 512 * MIB
"""Resident bytes of a process that it allocates only after ZeRO-3 has joined its trained partition
on the host (deepspeed runtime/zero/utils.py, ``defragment``)."""
STEP_BYTES = {Optimizer.ADAMW_TORCH: 8}
"""Bytes per element that the optimizer's step allocates on the host, one share at a time."""


def pinned_bytes(request: int) -> int:
    """Bytes that a pinned tensor occupies: the next power of two."""
    return 1 << (request - 1).bit_length() if request > 0 else 0


def host_bytes(
    architecture: Architecture,
    settings: StateSettings,
    parts: Callable[[], Iterator[tuple[int, int]]] | None = None,
) -> int:
    """Bytes of one process's offloaded states and parameters on the host.

    ``parts``: bytes and copies of this process's partitions of the base; needed with offloaded
    parameters.
    """
    partition, element = partition_of(architecture, settings), trained_element_bytes(settings)
    total = 0
    if settings.sharding.offload_optimizer:
        stage_3 = settings.sharding.zero_stage == 3
        total += (_optimizer_3 if stage_3 else _optimizer_2)(settings, partition, element)
    if settings.sharding.offload_param and parts is not None:
        total += sum(copies * pinned_bytes(size) for size, copies in parts())
        if settings.method.uses_adapter:
            half, world_size = BYTES[settings.base.model_dtype], settings.sharding.world_size
            total += sum(
                copies * pinned_bytes(half * ceil_div(size, world_size))
                for size, copies in Counter(partition.sizes).items()
            )
        total += pinned_bytes(element * partition.share)
        total += _with_offloaded_parameters(architecture, settings, partition)
    elif settings.sharding.zero_stage == 3:
        # Joining the trained partition passes through the host, before the process's own runtime
        # has reached its final size: only the excess over that later growth counts.
        total = max(total, element * partition.share - LATER_BYTES)
        total = max(total, built_bytes(architecture, settings))
    return total


def built_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of a base that each process builds whole on the host before it is shared out.

    That is a 4-bit one, and a model that FSDP2 trains whole. It goes part by part, before the
    process's own runtime has reached its final size. A plain base that is read from files lies in
    pages that all processes share.
    """
    shared = settings.sharding.shards_base or settings.sharding.zero_stage == 3
    trained = settings.sharding.shards_base and settings.method.trains_everything
    if not (trained or (shared and settings.base.has_4bit)):
        return 0
    return max(0, base_weight_bytes(architecture, settings) - LATER_BYTES)


def _with_offloaded_parameters(
    architecture: Architecture, settings: StateSettings, partition: Partition
) -> int:
    """Bytes of a tied lm_head's part, which is pinned before it is tied, and of the step's copies.

    If the device steps the fp32 weights, each share reaches the host in fp32 and is cast there.
    Source: ATen/native/cuda/Copy.cu (type conversions are performed on the CPU).
    """
    stepped = 0 if settings.sharding.offload_optimizer else MASTER_BYTES * max(partition.shares)
    if not architecture.vocabulary.tie_word_embeddings:
        return stepped
    part = ceil_div(embedding_parameters(architecture), settings.sharding.world_size)
    return stepped + pinned_bytes(BYTES[settings.base.model_dtype] * part)


def _states(settings: StateSettings, partition: Partition) -> int:
    """Bytes of pageable optimizer states and of the step's temporaries."""
    state_bytes = STATE_BYTES[settings.optimizer]
    work = STEP_BYTES.get(settings.optimizer, 0) * max(partition.shares)
    return work + sum(
        state_bytes(Tensor(rows=1, columns=share), MASTER_BYTES, paged=False)
        for share in partition.shares
    )


def _optimizer_2(settings: StateSettings, partition: Partition, element: int) -> int:
    """Stages 1 and 2: masters, their gradients, half-precision copies and a buffer are pinned.

    With accumulation, every gradient that overlaps this process's partition is pinned whole.
    """
    total = _states(settings, partition) + pinned_bytes(element * partition.largest)
    for share in partition.shares:
        total += 2 * pinned_bytes(MASTER_BYTES * share) + pinned_bytes(element * share)
    if settings.accumulates:
        # Which tensors overlap is not kept one by one: their share of all tensors stands for them.
        every = sum(pinned_bytes(element * size) for size in partition.sizes)
        total += every * partition.overlapping_elements // sum(partition.sizes)
    return total


def _optimizer_3(settings: StateSettings, partition: Partition, element: int) -> int:
    """Stage 3: masters are pageable; fp32 and flat half-precision gradients are pinned."""
    total = _states(settings, partition) + pinned_bytes(element * partition.share)
    return total + sum(
        MASTER_BYTES * share + pinned_bytes(MASTER_BYTES * share) for share in partition.shares
    )
