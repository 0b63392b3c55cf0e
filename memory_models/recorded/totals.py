"""All recorded layers together, as the formula's ``activations/layers.py`` counts its own.

Layers may differ from each other, so peaks are taken over the whole sequence of layers and not over
kinds: the peak of layer i lies above what the layers below it keep.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from memory_models.activations.decoder_layer import LayerMemory
from memory_models.activations.events import LayerEvents
from memory_models.activations.layers import LayerTotals, recomputed_layers
from memory_models.architecture import Architecture
from memory_models.recorded.recording import (
    Recording,
    layer_events_of,
    layer_memory_of,
    recording_for,
)
from memory_models.rounding import block_bytes
from memory_models.settings import LayerSettings, TrainingSettings
from memory_models.symbolic import Size


class _Layer(NamedTuple):
    """Bytes of one layer."""

    kept: int
    forward: int
    backward: int


def before_layers_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes of masks and positions, which are made before the layers and stay to the end."""
    before = recording_for(architecture, settings, settings.layer).before
    return _bytes(before, settings)


def stream_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes of the residual stream between two layers: one checkpoint.

    A norm after the embedding makes it fp32 under autocast (BLOOM); Gemma 3n has four streams.
    """
    return _bytes(recording_for(architecture, settings, settings.layer).stream, settings)


def recorded_parts(
    architecture: Architecture, settings: TrainingSettings
) -> list[tuple[Recording, range]]:
    """The recordings of checkpointed layers and of the layers above them, with their places."""
    first, layers = recomputed_layers(architecture, settings), architecture.num_hidden_layers
    parts = []
    if first:
        parts.append((recording_for(architecture, settings, settings.layer), range(first)))
    if first < layers:
        plain = settings.layer.without_checkpoint
        found = recording_for(architecture, settings, plain)
        parts.append((found, range(first, layers)))
    return parts


def recorded_events(
    architecture: Architecture, settings: TrainingSettings, *, accumulates: bool
) -> list[LayerEvents]:
    """Events of every layer, from the first to the last."""
    return [
        _kinds(found, accumulates)[found.pattern[place]]
        for found, places in recorded_parts(architecture, settings)
        for place in places
    ]


def recorded_totals(architecture: Architecture, settings: TrainingSettings) -> LayerTotals:
    """Bytes of all recorded layers in one step; the first ``recomputed_layers`` are checkpointed.

    Ignores: the order of the peaks of layers that differ; each is counted where it is.
    """
    first = recomputed_layers(architecture, settings)
    if not first:
        return _plain_totals(_layers(architecture, settings, settings.layer))
    boundary = block_bytes(stream_bytes(architecture, settings))
    lower = _layers(architecture, settings, settings.layer)[:first]
    # What a checkpointed layer keeps beside its checkpoint (attributes of a product in int8).
    held = [layer.kept + boundary for layer in lower]
    if settings.batch.checkpointed_layers is not None:
        plain = _layers(architecture, settings, settings.layer.without_checkpoint)[first:]
        return _mixed_totals(lower, plain, held, boundary)
    total = sum(held)
    return LayerTotals(
        boundary=boundary,
        all_kept=total,
        last_kept=held[-1],
        below_trained=0,
        forward=max(_above(lower, held, [each.forward for each in lower], total - held[-1])),
        backward=max(_above(lower, held, [each.backward for each in lower], total - held[-1])),
        first_backward=lower[0].backward,
    )


def _above(layers: list[_Layer], kept: list[int], peaks: list[int], base: int) -> list[int]:
    """The peak of every layer over what lies below it, less ``base``."""
    found, below = [], 0
    for place in range(len(layers)):
        found.append(below + peaks[place] - base)
        below += kept[place]
    return found


def _plain_totals(layers: list[_Layer]) -> LayerTotals:
    kept = [layer.kept for layer in layers]
    total, last = sum(kept), kept[-1]
    return LayerTotals(
        boundary=0,
        all_kept=total,
        last_kept=last,
        below_trained=0,
        forward=max(_above(layers, kept, [each.forward for each in layers], total - last)),
        backward=max(_above(layers, kept, [each.backward for each in layers], total - last)),
        first_backward=layers[0].backward,
    )


def _mixed_totals(
    lower: list[_Layer], upper: list[_Layer], held: list[int], boundary: int
) -> LayerTotals:
    below, kept = sum(held), [layer.kept for layer in upper]
    total, last = sum(kept), kept[-1]
    again = max(_above(lower, held, [each.backward for each in lower], below - held[-1]))
    return LayerTotals(
        boundary=0,
        all_kept=below + total,
        last_kept=last,
        below_trained=boundary,
        forward=max(_above(upper, kept, [each.forward for each in upper], total - last)),
        backward=max(_above(upper, kept, [each.backward for each in upper], total - last)),
        first_backward=lower[0].backward,
        unrecomputed=total,
        below_unrecomputed=below - held[-1] + boundary,
        again=again,
    )


def _layers(
    architecture: Architecture, settings: TrainingSettings, layer: LayerSettings
) -> list[_Layer]:
    """Bytes of every layer under ``layer``, from the first to the last."""
    found = recording_for(architecture, settings, layer)
    n, scores = settings.tokens, settings.scores
    kinds = []
    for memory in _memories(found, layer.checkpointed, layer.accumulates):
        kept = sum(count * block_bytes(_bytes(size, settings)) for size, count in memory.kept)
        kinds.append(
            _Layer(kept, memory.forward.bytes(n, scores), memory.backward.bytes(n, scores))
        )
    return [kinds[kind] for kind in found.pattern]


@lru_cache(maxsize=512)
def _memories(found: Recording, checkpointed: bool, accumulates: bool) -> tuple[LayerMemory, ...]:
    return tuple(
        layer_memory_of(layer, found.stream, checkpointed=checkpointed, accumulates=accumulates)
        for layer in found.layers
    )


@lru_cache(maxsize=512)
def _kinds(found: Recording, accumulates: bool) -> tuple[LayerEvents, ...]:
    return tuple(layer_events_of(layer, accumulates=accumulates) for layer in found.layers)


def _bytes(size: Size, settings: TrainingSettings) -> int:
    per_token, constant, per_unit = size
    return per_token * settings.tokens + constant + per_unit * settings.scores


def forward_flops_of(architecture: Architecture, settings: TrainingSettings) -> int:
    """Operations of the matrix products of all layers in the forward of one micro-batch."""
    found = recording_for(architecture, settings, settings.layer)
    return sum(_bytes(found.layers[kind].flops, settings) for kind in found.pattern)
