"""The tapes of a decoder layer and of the lm_head as events, in order, for replaying."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from memory_models.activations.decoder_layer import LayerProgram
from memory_models.activations.lm_head import LmHead
from memory_models.activations.tape import Tape
from memory_models.architecture import Architecture
from memory_models.settings import HeadSettings, LayerSettings
from memory_models.symbolic import ALLOC, FREE, WORKSPACE, ZERO, Event, Size

Events = tuple[Event, ...]


class LayerEvents(NamedTuple):
    """Events of one decoder layer; the gradient of the layer's input is left after ``backward``."""

    forward: Events
    backward: Events
    kept: Events
    """The allocations of ``forward`` that stay, the layer's output included."""
    left: Events
    """The net effect of ``backward``: what it leaves and what it frees."""
    cached: Events
    """The frees of autocast's casts of weights, when forward has ended."""


def net(events: Sequence[Event]) -> Events:
    """The events that have the same effect and no passing tensors."""
    total: Counter[Size] = Counter()
    order: dict[Size, None] = {}
    for sign, size in events:
        total[size] += sign
        # The order of first appearance stays: which hole a tensor finds depends on it.
        order[size] = None
    return tuple(
        (ALLOC if total[size] > 0 else FREE, size)
        for size in order
        for _ in range(abs(total[size]))
    )


def _without_saving(
    architecture: Architecture, settings: LayerSettings, *, trained: bool, masked: bool
) -> tuple[list[Event], list[Event]]:
    """Events of a checkpointed layer's first forward, and of autocast's casts after it.

    The checkpoint holds the layer's input; autocast holds its casts until forward has ended.
    """
    program = LayerProgram(
        architecture, settings, trained=trained, masked=masked, tape=Tape(saves=False)
    )
    stream = program.stream()
    program.run(stream)
    end = len(program.tape.events) - len(program.cached)
    # The program frees its input, but the checkpoint keeps it: an allocation undoes the free.
    return [*program.tape.events[:end], (ALLOC, stream.size)], program.tape.events[end:]


@lru_cache(maxsize=1024)
def layer_events(
    architecture: Architecture,
    settings: LayerSettings,
    *,
    trained: bool,
    masked: bool,
    accumulates: bool,
) -> LayerEvents:
    """Events of one layer of the program in ``decoder_layer.py``.

    ``trained``, ``masked``: see ``layer_memory``. ``accumulates``: parameters have gradients.
    """
    program = LayerProgram(architecture, settings, trained=trained, masked=masked, tape=Tape())
    output = program.run(program.stream())
    cached: list[Event] = []
    forward = program.tape.events
    if settings.checkpointed:
        forward, cached = _without_saving(architecture, settings, trained=trained, masked=masked)
    backward = program.tape.backward(
        output, accumulates=accumulates, recomputed=settings.checkpointed
    )
    return LayerEvents(
        forward=tuple(forward),
        backward=tuple(backward),
        kept=net(forward),
        left=net(backward),
        cached=tuple(cached),
    )


@lru_cache(maxsize=1024)
def lm_head_events(
    architecture: Architecture, settings: HeadSettings, *, accumulates: bool, first: bool
) -> tuple[Events, Events]:
    """Events of lm_head and loss, forward and backward; the gradient of the input is left.

    ``first``: the thread of backward has no cuBLAS workspace yet.
    """
    head = LmHead(architecture, settings)
    stream, tape = head.stream(), head.tape
    loss = head.run(stream)
    forward = tuple(tape.events)
    between = tape.unsaved(((ALLOC, stream.size), *forward))
    if loss.size != ZERO:
        between.append((ALLOC, loss.size))
    # The products of AdaLoRA's regularizer come before the loss's own.
    regularised = first and settings.adalora
    if regularised:
        between.append(WORKSPACE)
    product = head.head_node if first and not regularised else None
    backward = tape.backward(loss, accumulates=accumulates, recomputed=False, product=product)
    if first and not regularised and product is None:
        # The fused loss multiplies in forward's thread: a layer's product is backward's first.
        backward.append(WORKSPACE)
    if accumulates:
        backward += [(FREE, storage.size) for storage in tape.beyond]
    return forward, (*between, *backward)
