"""Gradients in time under DeepSpeed's ZeRO, by its stages."""

from __future__ import annotations

from collections.abc import Callable

from memory_models.architecture import Architecture
from memory_models.settings import Dtype, Optimizer, StateSettings
from memory_models.sharding.deepspeed_config import buckets, reduce_bucket_elements
from memory_models.sharding.fully_sharded import own_part, root_bytes, wraps_all
from memory_models.sharding.gradients import (
    FullBucket,
    Gradients,
    head_gradient_bytes,
    layer_gradient_bytes,
    trained_layers,
    unsharded_gradients,
)
from memory_models.sharding.partition import Partition, partition_of
from memory_models.states.adapters import PARAMETER_BYTES, trainable_parameters
from memory_models.states.optimizer import (
    tied_gradient_bytes,
    tied_sum_in_place,
    trained_element_bytes,
)
from memory_models.states.weights import base_weight_bytes, embedding_parameters, weight_bytes
from memory_models.units import ceil_div

MASTER_BYTES = 4
"""Bytes per element of the fp32 copy of every trained parameter that DeepSpeed steps."""
NORM_BYTES = 8
"""Bytes per element of the fp64 copy that DeepSpeed takes a norm of (runtime/zero/utils.py)."""
NORM_ELEMENTS = 250_000_000
"""Elements that ZeRO-3 copies to fp64 at once (stage3.py, ``_constant_buffered_norm2``)."""


def gradients(architecture: Architecture, settings: StateSettings) -> Gradients:
    """Bytes of gradients at each phase of a step, by the ZeRO stage of the settings."""
    found = BY_STAGE[settings.sharding.zero_stage](architecture, settings)
    return _in_slices(found, architecture, settings) if wraps_all(settings) else found


def _in_slices(found: Gradients, architecture: Architecture, settings: StateSettings) -> Gradients:
    """Gradients that FSDP2 has cut: they are scattered as a layer's backward ends.

    The next layer works beside what is being scattered. A trained root's gradients are whole until
    backward ends, and once more while they are scattered.
    Source: torch distributed/fsdp/_fully_shard/_fsdp_param_group.py (``post_backward``).
    """
    each = found.each
    head = root = leaving = 0
    if settings.method.trains_everything:
        root = root_bytes(architecture, settings)
        head = head_gradient_bytes(architecture, settings)
        leaving = layer_gradient_bytes(architecture, settings)
    # Where nothing came earlier, the slices of the root come last; and the program of a layer
    # counts all gradients of that layer, of which it else counts one at a time.
    if found.early:
        later_head = later_root = 0
        working = leaving
    else:
        later_head, later_root, working = head, root, 0
    return found._replace(
        early=own_part(settings, found.early),
        loss=own_part(settings, found.loss),
        last=own_part(settings, found.last - later_head) + head + working,
        first=own_part(settings, max(0, found.first - later_root)) + head + leaving + working,
        end=own_part(settings, found.end - later_root) + 2 * root,
        kept=own_part(settings, found.kept),
        step=own_part(settings, found.step),
        each=each and each._replace(bytes=own_part(settings, each.bytes)),
    )


def _stage_1(architecture: Architecture, settings: StateSettings) -> Gradients:
    """Whole gradients until the last micro-batch's backward, then one process's part of them.

    DeepSpeed reduces the gradients after the backward of the last micro-batch. The bucket exists
    in every backward.
    """
    found = unsharded_gradients(architecture, settings)
    partition = partition_of(architecture, settings)
    element, offloads = trained_element_bytes(settings), settings.sharding.offload_optimizer
    bucket = element * buckets(architecture, settings.sharding).held
    part = 0 if offloads else element * partition.overlapping_elements
    # What the reduction of a full bucket adds: a flat part, or with offload the norm's fp64 copy.
    # Gradients that fit the bucket together are reduced in one go, after backward.
    added = NORM_BYTES * partition.largest_partition if offloads else part
    whole = element * partition.total
    reduced = whole + bucket + (added if whole > bucket else 0)
    return found._replace(
        last=found.last + bucket,
        first=found.first + bucket,
        end=max(found.end + bucket, reduced),
        kept=_kept(settings, partition, part),
        step=_step(settings, partition, part),
        load=_load(architecture, settings),
    )


def _stage_2(architecture: Architecture, settings: StateSettings) -> Gradients:
    """A gradient goes to the bucket, and this process's elements go on to a flat part.

    DeepSpeed reduces a flat copy of the bucket; a gradient larger than the bucket waits for the
    next gradient. The part of earlier micro-batches exists beside the new part. DeepSpeed allocates
    the flat part when the first bucket is full; adapters fill it after some layers.
    Source: deepspeed runtime/zero/stage_1_and_2.py (``reduce_ipg_grads``, ``setup_buckets``).
    """
    if settings.sharding.offload_optimizer:
        return _stage_2_offloaded(architecture, settings)
    partition, element = partition_of(architecture, settings), trained_element_bytes(settings)
    bucket = element * buckets(architecture, settings.sharding).held
    part = element * partition.overlapping_elements
    early = part if settings.accumulates else 0
    # Gradients that fit one bucket together are reduced at the end of backward, not during it.
    several = element * partition.total > bucket
    copy = _copy(architecture, settings, partition)
    during = early + bucket + copy + (part if several else 0)
    waiting = element * partition.total if settings.method.is_adalora else 0
    outer, tied = _outer(architecture, settings), tied_gradient_bytes(architecture, settings)
    layers = _layers_to_fill(architecture, settings)
    head = _untied_head_bytes(architecture, settings)
    return Gradients(
        early=early,
        loss=early + waiting,
        last=(early + bucket if layers else during) + waiting + tied,
        first=during + tied,
        end=early + bucket + outer + (part + copy if several else max(part, copy)),
        kept=_kept(settings, partition, part),
        step=_step(settings, partition, part),
        load=_load(architecture, settings),
        head=during + head if head else 0,
        bucket=FullBucket(during + waiting + tied, layers) if layers else None,
    )


def _stage_2_offloaded(architecture: Architecture, settings: StateSettings) -> Gradients:
    """Each reduced gradient goes to the host after DeepSpeed took its norm.

    In all micro-batches but the last one, gradients that exceed the bucket stay until backward has
    ended: DeepSpeed clones each of them, copies it to the host and keeps the reference.
    Source: deepspeed runtime/zero/stage_1_and_2.py (``copy_grads_in_partition``,
    ``async_accumulate_grad_in_cpu_via_gpu``, ``set_norm_for_param_grad_in_gpu``).
    """
    partition, element = partition_of(architecture, settings), trained_element_bytes(settings)
    bucket = element * buckets(architecture, settings.sharding).held
    limit = reduce_bucket_elements(architecture, settings.sharding.deepspeed)
    inner = partition.largest_in_layers if partition.largest_in_layers > limit else 0
    held = element * partition.over_bucket_elements if settings.accumulates else 0
    head, outer = _untied_head_bytes(architecture, settings), _outer(architecture, settings)
    # Only a gradient that exceeds the bucket is kept, so nothing is kept unless some layer has one.
    if held:
        held_outer = head
        cloned = element * inner if settings.sharding.world_size > 1 else 0
    else:
        held_outer = cloned = 0
    copy = _copy(architecture, settings, partition)
    normed = (element + NORM_BYTES) * min(inner, partition.largest_partition)
    waiting = element * partition.total if settings.method.is_adalora else 0
    tied = tied_gradient_bytes(architecture, settings)
    one = embedding_parameters(architecture) * element if outer else 0
    of_one_layer = held // trained_layers(architecture, settings)
    return Gradients(
        early=0,
        loss=waiting,
        last=bucket + max(copy, normed, held_outer + of_one_layer + cloned) + waiting + tied,
        first=bucket + max(copy, normed, held_outer + held + cloned) + tied,
        end=bucket
        + max(
            copy + outer,
            one + NORM_BYTES * partition.largest_partition if outer else normed,
            held + held_outer + max(outer, 2 * one),
        ),
        kept=0,
        step=0,
        load=_load(architecture, settings),
        head=bucket + head + NORM_BYTES * partition.largest_partition if head else 0,
    )


def _stage_3(architecture: Architecture, settings: StateSettings) -> Gradients:
    """Stage 3 works as stage 2, but bucket and flat part are persistent and count as buffers.

    Source: deepspeed runtime/zero/stage3.py (``__add_grad_to_ipg_bucket``, ``partition_grads``).
    """
    partition, element = partition_of(architecture, settings), trained_element_bytes(settings)
    copy = _copy(architecture, settings, partition)
    waiting = element * partition.total if settings.method.is_adalora else 0
    tied = tied_gradient_bytes(architecture, settings)
    normed = outer_normed = 0
    # With offload the norm is taken gradient by gradient in backward, not in the step.
    if settings.sharding.offload_optimizer:
        inner = ceil_div(partition.largest_in_layers, settings.sharding.world_size)
        normed = NORM_BYTES * min(NORM_ELEMENTS, inner)
        outer_normed = NORM_BYTES * min(NORM_ELEMENTS, partition.largest_partition)
    return Gradients(
        early=0,
        loss=waiting,
        last=copy + normed + waiting + tied,
        first=copy + normed + tied,
        end=copy + max(outer_normed, _outer(architecture, settings)),
        kept=0,
        step=_step(settings, partition, 0),
    )


BY_STAGE: dict[int, Callable[[Architecture, StateSettings], Gradients]] = {
    0: unsharded_gradients,
    1: _stage_1,
    2: _stage_2,
    3: _stage_3,
}


def _copy(architecture: Architecture, settings: StateSettings, partition: Partition) -> int:
    """Bytes beside the bucket: the bucket's flat copy in the reduction, or one larger gradient."""
    element = trained_element_bytes(settings)
    limit = reduce_bucket_elements(architecture, settings.sharding.deepspeed)
    # One process of ZeRO-1 or 2 has nothing to reduce, so it needs no flat copy.
    reduces = settings.sharding.world_size > 1 or settings.sharding.zero_stage == 3
    flat = min(limit, partition.total) if reduces else 0
    larger = partition.largest_in_layers if partition.largest_in_layers > limit else 0
    return element * max(flat, larger)


def _outer(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of the embedding's gradient, of a tied lm_head's waiting one, and of their sum."""
    if not settings.method.trains_everything:
        return 0
    one = embedding_parameters(architecture) * trained_element_bytes(settings)
    if not architecture.vocabulary.tie_word_embeddings:
        return one
    return one * (2 if tied_sum_in_place(settings) else 3)


def _untied_head_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of the gradient of an untied lm_head."""
    untied = not architecture.vocabulary.tie_word_embeddings
    return head_gradient_bytes(architecture, settings) if untied else 0


def _layers_to_fill(architecture: Architecture, settings: StateSettings) -> int:
    """Number of layers whose gradients fit the bucket; 0: the last layer alone fills it."""
    if not settings.method.uses_adapter:
        return 0
    layers = trained_layers(architecture, settings)
    # A full model's layer exceeds D x D elements by itself; only adapters need several layers.
    one = trainable_parameters(architecture, settings.method) // layers
    bucket = reduce_bucket_elements(architecture, settings.sharding.deepspeed)
    return min(layers - 1, bucket // max(1, one))


def _kept(settings: StateSettings, partition: Partition, part: int) -> int:
    """Bytes of the flat part during a group's step, if another group is still in the part."""
    return part if len(partition.shares) > 1 and not settings.sharding.offload_optimizer else 0


def _step(settings: StateSettings, partition: Partition, part: int) -> int:
    """The largest of: the norm's copy; a group's flat and fp32 gradient; the optimizer's work."""
    if settings.sharding.offload_optimizer:
        return 0
    element, largest = trained_element_bytes(settings), max(partition.shares)
    # Only a half-precision gradient needs an fp32 copy for the masters.
    flat = element * largest + (MASTER_BYTES * largest if element < MASTER_BYTES else 0)
    # DeepSpeed frees the flat part after it has copied the last group out of it.
    alone = part if len(partition.shares) == 1 else 0
    work = TEMPORARIES.get(settings.optimizer, 0) * largest
    return max(
        alone + NORM_BYTES * partition.largest_partition,
        alone + flat,
        MASTER_BYTES * largest + work,
    )


TEMPORARIES = {Optimizer.ADAMW_TORCH: 4, Optimizer.ADAFACTOR: 8}
"""Bytes per element of a flat fp32 share that the optimizer's step allocates."""


def _load(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of a quantised base's fp32 parts and of fp32 adapters before DeepSpeed's cast.

    DeepSpeed makes the flat copy of trained weights on the host if the device has no room for it
    (stage_1_and_2.py, ``flatten_on_accelerator``), so that copy is never the peak.
    """
    element = trained_element_bytes(settings)
    if settings.base.quantization is None:
        return 0
    dtype = Dtype.FP32 if settings.base.model_dtype is Dtype.FP32 else Dtype.BF16
    upcast = weight_bytes(
        architecture, dtype, settings.base.quantization, upcast=settings.base.upcast_unquantized
    )
    adapters = (PARAMETER_BYTES - element) * trainable_parameters(architecture, settings.method)
    return upcast - base_weight_bytes(architecture, settings) + adapters
