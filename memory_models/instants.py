"""The moments at which a step may peak; the peak is persistent bytes plus the largest of them."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from memory_models.activations import autocast_cache_bytes, tokens
from memory_models.adapters import trainable_parameters
from memory_models.allocator import block_bytes
from memory_models.architecture import Architecture
from memory_models.loss import fused_rows
from memory_models.model_states import (
    step_transient_bytes,
    tied_gradient_bytes,
    tied_sum_in_place,
    trained_element_bytes,
    trained_tensors,
)
from memory_models.recipes import standing_of, tail_recipe_of
from memory_models.settings import FinetuningType, TrainingSettings
from memory_models.stack import mask_bytes, stack_of
from memory_models.tail import TailMemory, tail_memory
from memory_models.weights import embedding_parameters


class Instant(NamedTuple):
    """A moment of a step: what is alive then besides the persistent bytes, per rank."""

    name: str
    checkpoints: int = 0
    """What the blocks keep for backward."""
    block: int = 0
    """The one block at work."""
    loss: int = 0
    """Head and loss."""
    gradients: int = 0
    step: int = 0

    @property
    def bytes(self) -> int:
        """All of it."""
        return self.checkpoints + self.block + self.loss + self.gradients + self.step


class _Fixed(NamedTuple):
    """What lengths and batches do not change, in bytes."""

    tail: TailMemory
    head: int
    """The head's gradient."""
    tied: int
    """One gradient of a tied embedding."""
    embedding: int
    """All gradients of a tied embedding at the moment of their sum, beyond the one that stays."""
    own: int
    """Gradients of the first block's parameters, which its program counts."""
    cache: int
    """Casts of trained weights that autocast holds beside checkpoints until forward has ended."""
    step: int
    """The optimizer's temporaries."""


@lru_cache(maxsize=4096)
def _fixed(architecture: Architecture, standing: TrainingSettings) -> _Fixed:
    tied, cache = tied_gradient_bytes(architecture, standing), 0
    if standing.gradient_checkpointing:
        cache = autocast_cache_bytes(_block_trained(architecture, standing), standing)
    return _Fixed(
        tail=tail_memory(architecture, tail_recipe_of(standing)),
        head=_head_gradient_bytes(architecture, standing),
        tied=tied,
        embedding=_sums(standing) * tied,
        own=_own_gradient_bytes(architecture, standing),
        cache=cache,
        step=step_transient_bytes(architecture, standing),
    )


def instants(
    architecture: Architecture, settings: TrainingSettings, gradients: int
) -> tuple[Instant, ...]:
    """Candidate moments of one optimizer step; ``gradients``: bytes of all gradients of a rank.

    With accumulation, gradients of earlier micro-batches are there from the start. AdaLoRA's
    orthogonality term comes last in forward, so its gradients come first in backward.
    """
    fixed, stack = _fixed(architecture, standing_of(settings)), stack_of(architecture, settings)
    n, rows = tokens(settings), fused_rows(architecture, settings)
    masks = mask_bytes(architecture, settings)
    accumulates = settings.gradient_accumulation_steps > 1
    early = gradients if accumulates else 0
    tied = fixed.tied if early else 0
    waiting = gradients if settings.finetuning_type is FinetuningType.ADALORA else early
    own = 0 if waiting else fixed.own
    return (
        Instant(
            name="forward",
            checkpoints=stack.all_kept - stack.last_kept,
            block=stack.forward + masks,
            gradients=early,
        ),
        Instant(
            name="forward, loss",
            checkpoints=stack.all_kept,
            block=masks,
            loss=fixed.cache + fixed.tail.forward.bytes(n, rows),
            gradients=early,
        ),
        Instant(
            name="loss",
            checkpoints=stack.all_kept,
            block=masks,
            loss=fixed.tail.backward.bytes(n, rows),
            gradients=waiting,
        ),
        Instant(
            name="backward, last block",
            checkpoints=stack.all_kept - stack.last_kept + stack.boundary,
            block=stack.backward + masks,
            gradients=waiting + tied if waiting else fixed.head,
        ),
        Instant(
            name="backward, first block",
            checkpoints=stack.below_trained + stack.boundary,
            block=stack.first_backward + masks,
            gradients=max(0, gradients + tied - own),
        ),
        Instant(name="backward, embedding", gradients=gradients + fixed.embedding),
        Instant(name="step", gradients=gradients, step=fixed.step),
    )


def _block_trained(architecture: Architecture, settings: TrainingSettings) -> int:
    """Trained elements inside the blocks."""
    outside = 0
    if settings.finetuning_type is FinetuningType.FULL:
        heads = 1 if architecture.tie_word_embeddings else 2
        outside = heads * embedding_parameters(architecture)
    return trainable_parameters(architecture, settings) - outside


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
