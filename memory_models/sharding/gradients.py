"""Gradients in time: bytes of gradients, buckets and copies at each phase of a step."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from memory_models.architecture import Architecture
from memory_models.rounding import block_bytes
from memory_models.settings import FinetuningType, StateSettings
from memory_models.states.optimizer import (
    element_bytes,
    gradient_bytes,
    step_transient_bytes,
    tied_gradient_bytes,
    tied_sum_in_place,
    trained_element_bytes,
    trained_tensors,
)
from memory_models.states.weights import embedding_parameters


class FullBucket(NamedTuple):
    """The first time that a bucket of gradients is full."""

    bytes: int
    """Bytes of all gradients at that time."""
    layers: int
    """Number of layers whose backward has ended by that time."""


class LayerGradients(NamedTuple):
    """Gradients that backward adds layer by layer and that stay until the step."""

    bytes: int
    """Bytes of one trained layer's gradients."""
    layers: int
    """Number of trained layers."""


class Gradients(NamedTuple):
    """Bytes of one process, beyond the gradients that the programs of layers and lm_head count."""

    early: int
    """In forward: the gradients of earlier micro-batches."""
    loss: int
    """In the backward of the loss."""
    last: int
    """In the backward of the last layer."""
    first: int
    """In the backward of the first layer."""
    end: int
    """At the end of backward, when all gradients exist."""
    kept: int
    """In the optimizer's step."""
    step: int
    """Temporaries of the optimizer's step."""
    load: int = 0
    """While the engine is built, beyond persistent bytes: weights before their cast."""
    head: int = 0
    """When an untied lm_head's gradient is reduced, before the last layer; 0: it is not."""
    bucket: FullBucket | None = None
    """None: the gradients of the last layer fill the bucket."""
    each: LayerGradients | None = None
    """None: the gradients of the layers do not stay, or the programs count all of them."""

    def after(self, layers: int) -> int:
        """Bytes when the backward of the last ``layers`` layers has ended."""
        if self.each is None:
            return max(self.last, self.first)
        return self.last + min(layers, self.each.layers) * self.each.bytes


def unsharded_gradients(architecture: Architecture, settings: StateSettings) -> Gradients:
    """One process alone or DDP: every gradient stays with its parameter until the step.

    With accumulation, gradients of earlier micro-batches exist from the start. Forward ends with
    AdaLoRA's orthogonality term, so backward begins with that term's gradients of all adapters.
    """
    total = gradient_bytes(architecture, settings)
    early = total if settings.accumulates else 0
    one_tied = tied_gradient_bytes(architecture, settings)
    tied = one_tied if early else 0
    waiting = total if settings.method.is_adalora else early
    own = 0 if waiting else layer_gradient_bytes(architecture, settings)
    head = head_gradient_bytes(architecture, settings)
    copied = copied_embedding_gradient_bytes(architecture, settings)
    return Gradients(
        early=early,
        loss=waiting,
        last=waiting + tied if waiting else head,
        # A copied embedding's gradient is the last of backward; with an earlier one it is a second.
        first=max(0, total + tied - (0 if waiting else copied + _first(architecture, settings))),
        end=total + _sums(settings) * one_tied + (copied if early else 0),
        kept=total,
        step=step_transient_bytes(architecture, settings),
        each=LayerGradients(own, trained_layers(architecture, settings)) if own else None,
    )


def trained_layers(architecture: Architecture, settings: StateSettings) -> int:
    """Number of layers whose parameters are trained."""
    if settings.method.finetuning_type is FinetuningType.FREEZE:
        return settings.method.freeze_trainable_layers
    return architecture.num_hidden_layers


@lru_cache(maxsize=4096)
def layer_gradient_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of the gradients of one layer, which the program of the first layer counts itself."""
    layers = trained_layers(architecture, settings)
    return sum(
        tensor.copies // layers * block_bytes(tensor.elements * element_bytes(tensor, settings))
        for tensor in trained_tensors(architecture, settings.method)
        if not tensor.copied
    )


def _first(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of gradients that are not there, or not counted here, when the first layer begins.

    Recorded layers differ, and their embedding's gradient comes after theirs. Formulas count it
    with the first layer's, which is as much where that layer peaks lower than the gradient.
    """
    if not settings.method.trains_everything or not architecture.layer.recorded:
        return layer_gradient_bytes(architecture, settings)
    tied = architecture.vocabulary.tie_word_embeddings
    embedding = 0 if tied else embedding_parameters(architecture)
    elements = architecture.layer.first_parameters + embedding
    return elements * trained_element_bytes(settings)


def _sums(settings: StateSettings) -> int:
    """Tensors beyond one gradient of a tied embedding, when both gradients of it exist.

    The lm_head's gradient waits for the embedding's. Their sum is a third tensor if autograd does
    not add in place. With accumulation, the sum of earlier micro-batches exists as well.
    """
    earlier = 1 if settings.accumulates else 0
    return 1 + (0 if tied_sum_in_place(settings) else 1) + earlier


def head_gradient_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of the gradient of the whole lm_head, or of its copy: the first one of backward."""
    if settings.method.trains_everything:
        return embedding_parameters(architecture) * trained_element_bytes(settings)
    return sum(
        tensor.elements * element_bytes(tensor, settings)
        for tensor in trained_tensors(architecture, settings.method)
        if tensor.copied and not tensor.embedding
    )


def copied_embedding_gradient_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of the gradient of a copy of the embedding that is trained beside adapters."""
    return sum(
        tensor.elements * element_bytes(tensor, settings)
        for tensor in trained_tensors(architecture, settings.method)
        if tensor.copied and tensor.embedding
    )
