"""Gradients in time: what they, their buckets and their copies take at each instant of a step."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from memory_models.architecture import Architecture
from memory_models.rounding import block_bytes
from memory_models.settings import FinetuningType, StateSettings
from memory_models.states.optimizer import (
    gradient_bytes,
    step_transient_bytes,
    tied_gradient_bytes,
    tied_sum_in_place,
    trained_element_bytes,
    trained_tensors,
)
from memory_models.states.weights import embedding_parameters


class FullBucket(NamedTuple):
    """A bucket of gradients that is full for the first time."""

    bytes: int
    """Bytes of all gradients then."""
    layers: int
    """Layers whose backward has ended by then."""


class LayerGradients(NamedTuple):
    """Gradients that come layer by layer and stay."""

    bytes: int
    """Bytes of one trained layer's gradients."""
    layers: int
    """Layers that have some."""


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
    """Where the engine is built, beyond what stays: weights before they were cast."""
    head: int = 0
    """Where an untied head's gradient is reduced, before the last block; 0: nowhere."""
    bucket: FullBucket | None = None
    """Where a bucket is full for the first time; None: the last layer's gradients fill it."""
    each: LayerGradients | None = None
    """Where the layers' gradients come one by one and stay; None: nowhere."""

    def after(self, blocks: int) -> int:
        """When the last ``blocks`` blocks' backward has ended."""
        if self.each is None:
            return max(self.last, self.first)
        return self.last + min(blocks, self.each.layers) * self.each.bytes


def whole(architecture: Architecture, settings: StateSettings) -> Gradients:
    """Every gradient stays with its parameter until the step, on one rank or under DDP.

    With accumulation, gradients of earlier micro-batches are there from the start. AdaLoRA's
    orthogonality term comes last in forward, so its gradients come first in backward.
    """
    total = gradient_bytes(architecture, settings)
    early = total if settings.accumulates else 0
    one_tied = tied_gradient_bytes(architecture, settings)
    tied = one_tied if early else 0
    waiting = total if settings.method.is_adalora else early
    own = 0 if waiting else _own_gradient_bytes(architecture, settings)
    head = head_gradient_bytes(architecture, settings)
    return Gradients(
        early=early,
        loss=waiting,
        last=waiting + tied if waiting else head,
        first=max(0, total + tied - own),
        end=total + _sums(settings) * one_tied,
        kept=total,
        step=step_transient_bytes(architecture, settings),
        each=LayerGradients(own, trained_layers(architecture, settings)) if own else None,
    )


def trained_layers(architecture: Architecture, settings: StateSettings) -> int:
    """Blocks whose parameters are trained."""
    if settings.method.finetuning_type is FinetuningType.FREEZE:
        return settings.method.freeze_trainable_layers
    return architecture.num_hidden_layers


@lru_cache(maxsize=4096)
def _own_gradient_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of the gradients of the first block's parameters, which its program counts."""
    element = trained_element_bytes(settings)
    layers = trained_layers(architecture, settings)
    return sum(
        tensor.copies // layers * block_bytes(tensor.elements * element)
        for tensor in trained_tensors(architecture, settings.method)
    )


def _sums(settings: StateSettings) -> int:
    """Tensors beside one gradient of a tied embedding, once both its gradients are there.

    The head's gradient waits for the embedding's; their sum is a tensor more if it is not made in
    place. With accumulation the sum of earlier micro-batches is there as well.
    """
    earlier = 1 if settings.accumulates else 0
    return 1 + (0 if tied_sum_in_place(settings) else 1) + earlier


def head_gradient_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of the head's gradient, the first of all to be there (full fine-tuning only)."""
    if not settings.method.trains_everything:
        return 0
    return embedding_parameters(architecture) * trained_element_bytes(settings)
