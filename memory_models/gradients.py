"""Gradients in time: what they, their buckets and their copies take at each instant of a step."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from memory_models.adapters import PARAMETER_BYTES, trainable_parameters
from memory_models.allocator import block_bytes
from memory_models.architecture import Architecture
from memory_models.model_states import (
    gradient_bytes,
    step_transient_bytes,
    tied_gradient_bytes,
    tied_sum_in_place,
    trained_element_bytes,
    trained_tensors,
)
from memory_models.settings import Dtype, FinetuningType, Optimizer, TrainingSettings
from memory_models.shards import Shards, shards
from memory_models.weights import base_weight_bytes, embedding_parameters, weight_bytes
from memory_models.zero_limits import reduce_bucket_elements

MASTER_BYTES = 4
"""DeepSpeed keeps and steps an fp32 copy of every trained parameter."""


class Gradients(NamedTuple):
    """Bytes of one rank, beside what the programs of blocks and head count themselves."""

    early: int
    """In forward: those of earlier micro-batches."""
    loss: int
    """In the loss's backward."""
    last: int
    """In the last block's backward."""
    first: int
    """In the first block's backward."""
    end: int
    """When all are there."""
    kept: int
    """In the optimizer's step."""
    step: int
    """The step's temporaries."""
    load: int = 0
    """Where the engine is built, beyond what stays: a second copy of the weights."""


def gradients(architecture: Architecture, standing: TrainingSettings) -> Gradients:
    """The gradients' bytes in time; ``standing``: settings with lengths and batches left out."""
    return BY_STAGE[standing.zero_stage](architecture, standing)


def whole(architecture: Architecture, settings: TrainingSettings) -> Gradients:
    """Every gradient stays with its parameter until the step, on one rank or under DDP.

    With accumulation, gradients of earlier micro-batches are there from the start. AdaLoRA's
    orthogonality term comes last in forward, so its gradients come first in backward.
    """
    total = gradient_bytes(architecture, settings)
    early = total if settings.gradient_accumulation_steps > 1 else 0
    one_tied = tied_gradient_bytes(architecture, settings)
    tied = one_tied if early else 0
    waiting = total if settings.finetuning_type is FinetuningType.ADALORA else early
    own = 0 if waiting else _own_gradient_bytes(architecture, settings)
    head = _head_gradient_bytes(architecture, settings)
    return Gradients(
        early=early,
        loss=waiting,
        last=waiting + tied if waiting else head,
        first=max(0, total + tied - own),
        end=total + _sums(settings) * one_tied,
        kept=total,
        step=step_transient_bytes(architecture, settings),
    )


def _stage_1(architecture: Architecture, settings: TrainingSettings) -> Gradients:
    """Whole gradients, reduced after the last micro-batch's backward, then a rank's part of them.

    The bucket is there in every backward.
    """
    found, cut = whole(architecture, settings), shards(architecture, settings)
    element = trained_element_bytes(settings)
    bucket = element * reduce_bucket_elements(architecture)
    part = 0 if settings.offload_optimizer else element * cut.touched
    reduced = element * cut.total + bucket + (part if element * cut.total > bucket else 0)
    return found._replace(
        last=found.last + bucket,
        first=found.first + bucket,
        end=max(found.end + bucket, reduced),
        kept=_kept(settings, cut, part),
        step=_step(settings, cut, part),
        load=_load(architecture, settings, cut),
    )


def _stage_2(architecture: Architecture, settings: TrainingSettings) -> Gradients:
    """A gradient goes to the bucket, and what of it is this rank's from there to a flat part.

    A bucket is reduced as a flat copy; a gradient larger than it waits for the next one to come.
    Earlier micro-batches' part is there beside the new one. Offloaded, parts go to the host, in
    fp32 after the last micro-batch.
    Source: deepspeed runtime/zero/stage_1_and_2.py (``reduce_ipg_grads``, ``setup_buckets``).
    """
    cut, element = shards(architecture, settings), trained_element_bytes(settings)
    bucket = element * reduce_bucket_elements(architecture)
    part = 0 if settings.offload_optimizer else element * cut.touched
    early = part if settings.gradient_accumulation_steps > 1 else 0
    several = element * cut.total > bucket
    copy = _copy(architecture, settings, cut)
    during = early + bucket + copy + (part if several else 0)
    waiting = element * cut.total if settings.finetuning_type is FinetuningType.ADALORA else 0
    outer, tied = _outer(architecture, settings), tied_gradient_bytes(architecture, settings)
    return Gradients(
        early=early,
        loss=early + waiting,
        last=during + waiting + tied,
        first=during + tied,
        end=early + bucket + outer + (part + copy if several else max(part, copy)),
        kept=_kept(settings, cut, part),
        step=_step(settings, cut, part),
        load=_load(architecture, settings, cut),
    )


def _stage_3(architecture: Architecture, settings: TrainingSettings) -> Gradients:
    """As stage 2, but the bucket and the flat part stay and count as buffers.

    Source: deepspeed runtime/zero/stage3.py (``__add_grad_to_ipg_bucket``, ``partition_grads``).
    """
    cut, element = shards(architecture, settings), trained_element_bytes(settings)
    copy = _copy(architecture, settings, cut)
    waiting = element * cut.total if settings.finetuning_type is FinetuningType.ADALORA else 0
    tied = tied_gradient_bytes(architecture, settings)
    return Gradients(
        early=0,
        loss=waiting,
        last=copy + waiting + tied,
        first=copy + tied,
        end=copy + _outer(architecture, settings),
        kept=0,
        step=_step(settings, cut, 0),
    )


BY_STAGE: dict[int, Callable[[Architecture, TrainingSettings], Gradients]] = {
    0: whole,
    1: _stage_1,
    2: _stage_2,
    3: _stage_3,
}


def _copy(architecture: Architecture, settings: TrainingSettings, cut: Shards) -> int:
    """Bytes beside the bucket: its flat copy on the way to all ranks, or one larger gradient."""
    element, limit = trained_element_bytes(settings), reduce_bucket_elements(architecture)
    flat = min(limit, cut.total) if settings.world_size > 1 or settings.zero_stage == 3 else 0
    larger = cut.largest_inner if cut.largest_inner > limit else 0
    fp32 = MASTER_BYTES if settings.offload_optimizer and settings.zero_stage == 2 else 0
    return max(element * flat, (element + fp32) * larger)


def _outer(architecture: Architecture, settings: TrainingSettings) -> int:
    """The embedding's gradient, and a tied head's that waits for it and their sum."""
    if settings.finetuning_type is not FinetuningType.FULL:
        return 0
    one = embedding_parameters(architecture) * trained_element_bytes(settings)
    if not architecture.tie_word_embeddings:
        return one
    return one * (2 if tied_sum_in_place(settings) else 3)


def _kept(settings: TrainingSettings, cut: Shards, part: int) -> int:
    """The flat part lives while a group is stepped if another group has a place in it."""
    return part if len(cut.shares) > 1 and not settings.offload_optimizer else 0


def _step(settings: TrainingSettings, cut: Shards, part: int) -> int:
    """The largest group's gradient flat and in fp32, then that and the optimizer's temporaries."""
    if settings.offload_optimizer:
        return 0
    element, largest = trained_element_bytes(settings), max(cut.shares)
    flat = element * largest + (MASTER_BYTES * largest if element < MASTER_BYTES else 0)
    alone = part if len(cut.shares) == 1 else 0
    work = TEMPORARIES.get(settings.optimizer, 0) * largest
    return max(alone + flat, MASTER_BYTES * largest + work)


TEMPORARIES = {Optimizer.ADAMW_TORCH: 4, Optimizer.ADAFACTOR: 8}
"""Bytes an element of a flat fp32 share that the optimizer's step takes for itself."""


def _load(architecture: Architecture, settings: TrainingSettings, cut: Shards) -> int:
    """Beyond the weights: a flat copy of the trained ones, or what was in fp32 before the cast."""
    element = trained_element_bytes(settings)
    if settings.quantization is None:
        return element * cut.total
    dtype = Dtype.FP32 if settings.model_dtype is Dtype.FP32 else Dtype.BF16
    upcast = weight_bytes(architecture, dtype, settings.quantization)
    adapters = (PARAMETER_BYTES - element) * trainable_parameters(architecture, settings)
    return max(element * cut.total, upcast - base_weight_bytes(architecture, settings) + adapters)


@lru_cache(maxsize=4096)
def _own_gradient_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes of the gradients of the first block's parameters, which its program counts."""
    element, layers = trained_element_bytes(settings), architecture.num_hidden_layers
    if settings.finetuning_type is FinetuningType.FREEZE:
        layers = settings.freeze_trainable_layers
    return sum(
        tensor.copies // layers * block_bytes(tensor.elements * element)
        for tensor in trained_tensors(architecture, settings)
    )


def _sums(settings: TrainingSettings) -> int:
    """Tensors beside one gradient of a tied embedding, once both its gradients are there.

    The head's gradient waits for the embedding's; their sum is a tensor more if it is not made in
    place. With accumulation the sum of earlier micro-batches is there as well.
    """
    earlier = 1 if settings.gradient_accumulation_steps > 1 else 0
    return 1 + (0 if tied_sum_in_place(settings) else 1) + earlier


def _head_gradient_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes of the head's gradient, the first of all to be there (full fine-tuning only)."""
    if settings.finetuning_type is not FinetuningType.FULL:
        return 0
    return embedding_parameters(architecture) * trained_element_bytes(settings)
