"""A recorded layer: the events of the real model's layer, each affine in tokens and scores.

A formula writes a layer as a program of ops; a recording holds the events that the real model made
on tensors without values. Both give the same records to the rest of the core: `LayerMemory` and
`LayerEvents`. Recordings are large and are made on demand, so an architecture holds only the key of
their source, which whoever reads a model makes known here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, replace
from functools import lru_cache

from memory_models.activations.decoder_layer import LayerMemory
from memory_models.activations.events import LayerEvents, net
from memory_models.activations.peaks import pareto_peaks
from memory_models.activations.tape import running_levels
from memory_models.architecture import Architecture
from memory_models.frozen import frozen
from memory_models.settings import Arithmetic, Attention, LayerSettings, Method, TrainingSettings
from memory_models.symbolic import ZERO, Event, Size, times, total


@frozen
class Recipe:
    """All that the tape of a decoder layer depends on besides the model and the batch."""

    arithmetic: Arithmetic
    method: Method
    attention: Attention
    checkpointed: bool
    one_row: bool = False
    """A micro-batch has one row."""
    masked: bool = False
    """Sliding windows are shorter than the sequence, so that attention in them needs a mask."""


@frozen
class RecordedLayer:
    """The tape of one kind of decoder layer."""

    forward: tuple[Event, ...]
    cached: tuple[Event, ...] = field(default=())
    """The frees of autocast's casts of weights, when forward has ended."""
    kept: tuple[tuple[Size, int], ...]
    """Tensors that stay for backward, each size with its number; the layer's input among them if it
    stays, but never the checkpoint of a checkpointed layer."""
    backward: tuple[Event, ...]
    """Backward where no parameter has a gradient yet."""
    accumulating: tuple[Event, ...]
    """Backward where every trained parameter has one."""
    flops: Size = ZERO
    """Operations of the matrix products of forward."""


@frozen
class Recording:
    """The tapes of all decoder layers under one recipe."""

    layers: tuple[RecordedLayer, ...]
    """One per kind. The first layer of the model is a kind of its own."""
    pattern: tuple[int, ...]
    """The kind of every layer, from the first to the last."""
    stream: Size
    """The residual stream between two layers."""
    any_rows: bool = True
    """The recording is for one row and for several."""
    before: Size = ZERO
    """What is made around the layers and stays until backward has ended: masks, positions, and what
    joins several streams behind the last layer."""

    def __hash__(self) -> int:
        """The hash of the object: a recording holds thousands of events and is looked up often."""
        return id(self)

    def __eq__(self, other: object) -> bool:
        """Whether both are one object."""
        return self is other


Source = Callable[[Recipe], Recording]
_SOURCES: dict[str, Source] = {}


def make_known(key: str, source: Source) -> None:
    """Give the recordings of the architectures whose layers carry this key.

    A source may be slow and may raise ValueError for a recipe that cannot be recorded.
    """
    _SOURCES[key] = source
    recording.cache_clear()


def is_known(key: str) -> bool:
    """Whether there is a source of this key's recordings."""
    return key in _SOURCES


@lru_cache(maxsize=256)
def recording(key: str, recipe: Recipe) -> Recording:
    """The recording of one model under one recipe.

    Raises:
        ValueError: no source is known, or the recipe cannot be recorded.
    """
    source = _SOURCES.get(key)
    if source is None:
        raise ValueError(
            "its layers have no formula, and no recording of them is at hand: plan again with "
            "the model's config.json"
        )
    return source(recipe)


def recipe_of(layer: LayerSettings, *, masked: bool, one_row: bool = False) -> Recipe:
    """The recipe of these settings; what changes no event has its default."""
    arithmetic, base = layer.arithmetic, layer.arithmetic.base
    if arithmetic.one_dtype and base.autocast is not None:
        # DeepSpeed casts the weights instead; see ``effective_settings``.
        arithmetic = replace(
            arithmetic, base=replace(base, model_dtype=base.autocast, autocast=None)
        )
    return Recipe(
        arithmetic=arithmetic,
        method=replace(layer.method, lora_alpha=None),
        attention=layer.attention,
        checkpointed=layer.checkpointed,
        one_row=one_row,
        masked=masked,
    )


def is_masked(architecture: Architecture, settings: TrainingSettings) -> bool:
    """Whether sliding windows are not longer than the sequence, and need a mask."""
    window = architecture.attention.sliding_window
    needed = window is not None and settings.sequence_length >= window
    return needed and not settings.batch.is_packed


def recording_for(
    architecture: Architecture, settings: TrainingSettings, layer: LayerSettings
) -> Recording:
    """The recording of an architecture's layers under ``layer``; raises as `recording`."""
    masked, one_row = is_masked(architecture, settings), settings.rows == 1
    recipe = recipe_of(layer, masked=masked, one_row=one_row)
    return recording(architecture.layer.recorded, recipe)


def layer_memory_of(
    layer: RecordedLayer, stream: Size, *, checkpointed: bool, accumulates: bool
) -> LayerMemory:
    """What the formula's ``layer_memory`` gives: kept tensors, and peaks of forward and backward.

    The input of a checkpointed layer counts with the checkpoints of all layers, not here.
    """
    base = ZERO if checkpointed else stream
    before = total((stream, ZERO if checkpointed else kept_size(layer)))
    backward = layer.accumulating if accumulates else layer.backward
    return LayerMemory(
        kept=layer.kept,
        forward=pareto_peaks(running_levels(base, layer.forward)),
        backward=pareto_peaks(running_levels(before, backward)),
    )


def layer_events_of(layer: RecordedLayer, *, accumulates: bool) -> LayerEvents:
    """What the formula's ``layer_events`` gives."""
    backward = layer.accumulating if accumulates else layer.backward
    return LayerEvents(
        forward=layer.forward,
        backward=backward,
        kept=net(layer.forward),
        left=net(backward),
        cached=layer.cached,
    )


def kept_size(layer: RecordedLayer) -> Size:
    """All that one layer keeps for backward."""
    return total(times(size, count) for size, count in layer.kept)
