"""All decoder layers together: what they keep for backward, and what the running layer takes."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from memory_models.activations.decoder_layer import LayerMemory, layer_memory
from memory_models.activations.encoder import trains_encoder
from memory_models.activations.peaks import Peaks
from memory_models.architecture import Architecture
from memory_models.rounding import block_bytes
from memory_models.settings import (
    Attention,
    FinetuningType,
    LayerSettings,
    Method,
    TrainingSettings,
)
from memory_models.states.layer_inputs import boundary_bytes, int8_input_bytes, int8_kept_bytes
from memory_models.states.precision import precision

PASSES_WITHOUT_RECOMPUTATION = 2
"""Forward and backward."""


def active_layers(architecture: Architecture, settings: LayerSettings) -> int:
    """Number of layers that keep anything for backward: the first trained layer and those above it.

    Checkpointing makes the embedding's output require a gradient, so every layer takes part.
    Source: transformers ``gradient_checkpointing_enable`` (``enable_input_require_grads``).
    """
    method = settings.method
    if method.finetuning_type is FinetuningType.FREEZE and not settings.checkpointed:
        return min(method.freeze_trainable_layers, architecture.num_hidden_layers)
    return architecture.num_hidden_layers


def recomputed_layers(architecture: Architecture, settings: TrainingSettings) -> int:
    """Number of layers whose forward runs again in backward: the first of the active ones."""
    if not settings.batch.gradient_checkpointing:
        return 0
    return settings.batch.checkpointed_layers or active_layers(architecture, settings.layer)


def passes(architecture: Architecture, settings: TrainingSettings) -> float:
    """Passes of a micro-batch through an average layer: forward, backward, and recomputation."""
    recomputed = recomputed_layers(architecture, settings)
    return PASSES_WITHOUT_RECOMPUTATION + recomputed / architecture.num_hidden_layers


def masked_layers(architecture: Architecture, settings: TrainingSettings) -> int:
    """Number of layers whose window is not longer than the sequence: their attention needs a mask.

    Attention over packed rows and flex_attention know windows without one. Source: transformers
    masking_utils.py (``_ignore_causal_mask_sdpa``).
    """
    window = architecture.attention.sliding_window
    if window is None or settings.sequence_length < window or settings.batch.is_packed:
        return 0
    if settings.kernels.attention is Attention.FLEX_ATTENTION:
        return 0
    return architecture.attention.sliding_layers


def masked_above(architecture: Architecture, settings: TrainingSettings) -> int:
    """Number of masked layers above the checkpointed ones, if masks are spread evenly."""
    above = architecture.num_hidden_layers - recomputed_layers(architecture, settings)
    return masked_layers(architecture, settings) * above // architecture.num_hidden_layers


def mask_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes of the attention masks [B, 1, S, S] of a step; flash and causal sdpa need none.

    Eager attention adds masks of the stream's dtype, one for each kind of layer; sdpa reads
    booleans in windowed layers. Source: transformers masking_utils.py.
    """
    cells = settings.scores
    windowed = masked_layers(architecture, settings)
    if settings.kernels.attention is Attention.EAGER:
        sliding = architecture.attention.sliding_layers
        kinds = 2 if 0 < sliding < architecture.num_hidden_layers else 1
        # transformers builds one mask per kind of layer and shares it among the layers.
        return kinds * cells * precision(settings.arithmetic).residual
    return cells if windowed and settings.kernels.attention is Attention.SDPA else 0


def layers_in_turn(
    architecture: Architecture, settings: TrainingSettings
) -> list[tuple[LayerSettings, bool]]:
    """Settings of each layer that takes part in backward, from the first; True: it needs a mask."""
    layer = settings.layer
    layers = active_layers(architecture, layer)
    masked = min(layers, masked_layers(architecture, settings))
    if settings.batch.checkpointed_layers is None:
        return [(layer, place < masked) for place in range(layers)]
    first, above = recomputed_layers(architecture, settings), masked_above(architecture, settings)
    plain = layer.without_checkpoint
    lower = [(layer, place < masked - above) for place in range(first)]
    return lower + [(plain, place < above) for place in range(layers - first)]


class LayerPrograms(NamedTuple):
    """The programs of the layers that take part in backward."""

    kinds: tuple[tuple[LayerMemory, int], ...]
    """Layers without a mask, then layers with one, each with the number of such layers."""
    first: LayerMemory
    """The first layer; its input needs no gradient if nothing below it is trained."""


@lru_cache(maxsize=4096)
def programs(architecture: Architecture, settings: LayerSettings, masked: int) -> LayerPrograms:
    """Programs of all layers; ``masked`` is the number of layers with a mask."""
    trained = settings.method.trains_base
    layers = active_layers(architecture, settings)
    masked = min(layers, masked)
    kinds = tuple(
        (layer_memory(architecture, settings, trained=trained, masked=is_masked), count)
        for is_masked, count in ((False, layers - masked), (True, masked))
        if count
    )
    first = kinds[-1][0]
    method = settings.method
    below = trains_encoder(architecture, method) or method.trains_embedding
    # With a checkpoint, or with trained weights below, the first layer's input needs a gradient.
    if not settings.checkpointed and not below:
        first = layer_memory(architecture, settings, trained=trained, first=True, masked=masked > 0)
    return LayerPrograms(kinds=kinds, first=first)


class LayerTotals(NamedTuple):
    """Bytes of all layers for the tokens and attention scores of a step."""

    boundary: int
    """The last layer's checkpoint; 0 without checkpoints, where kept tensors include the input."""
    all_kept: int
    """The kept tensors of all layers."""
    last_kept: int
    """The last layer's share of ``all_kept``."""
    below_trained: int
    """Checkpoints of frozen layers below the first trained layer, and that layer's own checkpoint
    beyond ``boundary``."""
    forward: int
    """Peak of one layer in forward."""
    backward: int
    """Peak of one layer in backward; recomputation and the layer's own kept bytes are included."""
    first_backward: int
    """Peak of the first layer in backward, counted as ``backward``."""
    unrecomputed: int = 0
    """Share of ``all_kept`` of layers without a checkpoint, if other layers have one."""
    below_unrecomputed: int = 0
    """Checkpoints that are left when the last checkpointed layer of a mixed model runs again."""
    again: int = 0
    """Peak of that layer in backward; 0: all layers have a checkpoint, or none has one."""


def layer_totals(architecture: Architecture, settings: TrainingSettings) -> LayerTotals:
    """Bytes of all layers in one step."""
    n, scores = settings.tokens, settings.scores
    int8 = int8_input_bytes(architecture, settings)
    found = programs(architecture, settings.layer, masked_layers(architecture, settings))

    def peak(peaks: Peaks) -> int:
        return peaks.bytes(n, scores) + int8

    backward = max([peak(kind.backward) for kind, _ in found.kinds])
    first_backward = peak(found.first.backward)
    if settings.batch.checkpointed_layers is not None:
        return _mixed_totals(architecture, settings, max(backward, first_backward))
    if settings.batch.gradient_checkpointing:
        boundary = block_bytes(boundary_bytes(architecture, settings))
        return LayerTotals(
            boundary=boundary,
            all_kept=active_layers(architecture, settings.layer) * (boundary + int8)
            + _unscaled_embedding(architecture, boundary),
            last_kept=boundary + int8,
            below_trained=_frozen_below(architecture, settings.method) * boundary,
            forward=0,
            backward=backward,
            first_backward=max(backward, first_backward),
        )
    int8 = int8_kept_bytes(architecture, settings)
    kept = [_kept(kind, n, scores) + int8 for kind, _ in found.kinds]
    total = sum([count * size for (_, count), size in zip(found.kinds, kept, strict=True)])
    # The model's forward holds the embedding's output to its end, also where no layer keeps it.
    unkept = found.first is not found.kinds[-1][0]
    held = block_bytes(boundary_bytes(architecture, settings)) if unkept else 0
    return LayerTotals(
        boundary=0,
        # The first layer's program may keep less than the others of its kind.
        all_kept=total - kept[-1] + _kept(found.first, n, scores) + int8,
        last_kept=max(kept),
        below_trained=0,
        forward=held + max([peak(kind.forward) for kind, _ in found.kinds]),
        backward=backward,
        first_backward=first_backward,
    )


class _Unrecomputed(NamedTuple):
    """Layers without a checkpoint above layers with one."""

    memory: LayerMemory
    number: int
    frozen: bool
    """The layers are below the first trained one."""


def _unrecomputed_layers(
    architecture: Architecture, settings: TrainingSettings
) -> list[_Unrecomputed]:
    """The kinds of layers without a checkpoint; masked layers are spread evenly over them."""
    total = architecture.num_hidden_layers
    layers = total - recomputed_layers(architecture, settings)
    layer = settings.layer.without_checkpoint
    frozen = max(0, _frozen_below(architecture, settings.method) - total + layers)
    masked = masked_above(architecture, settings)
    masked_frozen = masked * frozen // layers
    counts = (
        (True, False, frozen - masked_frozen),
        (True, True, masked_frozen),
        (False, False, layers - frozen - masked + masked_frozen),
        (False, True, masked - masked_frozen),
    )
    trained = settings.method.trains_base
    return [
        _Unrecomputed(
            memory=layer_memory(
                architecture, layer, trained=trained and not is_frozen, masked=is_masked
            ),
            number=count,
            frozen=is_frozen,
        )
        for is_frozen, is_masked, count in counts
        if count
    ]


def _mixed_totals(
    architecture: Architecture, settings: TrainingSettings, again: int
) -> LayerTotals:
    """Totals if the first layers have a checkpoint; ``again``: peak of one of them in backward.

    The loss does not depend on which layers are checkpointed. When the first layers run again, the
    tensors that the other layers kept are already freed.
    """
    n, scores = settings.tokens, settings.scores
    int8 = int8_input_bytes(architecture, settings)
    boundary = block_bytes(boundary_bytes(architecture, settings))
    first = recomputed_layers(architecture, settings)
    below = _frozen_below(architecture, settings.method)
    others = _unrecomputed_layers(architecture, settings)
    int8_kept = int8_kept_bytes(architecture, settings)
    sizes = [_kept(layers.memory, n, scores) + int8_kept for layers in others]
    totals = [layers.number * size for layers, size in zip(others, sizes, strict=True)]
    backward = int8 + max([layers.memory.backward.bytes(n, scores) for layers in others])
    below_trained, first_backward = (below + 1) * boundary, again
    if below >= first:
        frozen = [total for layers, total in zip(others, totals, strict=True) if layers.frozen]
        below_trained, first_backward = first * boundary + sum(frozen), backward
    return LayerTotals(
        boundary=0,
        all_kept=first * (boundary + int8)
        + sum(totals)
        + _unscaled_embedding(architecture, boundary),
        last_kept=max(sizes),
        below_trained=below_trained,
        forward=int8 + max([layers.memory.forward.bytes(n, scores) for layers in others]),
        backward=backward,
        first_backward=first_backward,
        unrecomputed=sum(totals),
        below_unrecomputed=first * boundary + (first - 1) * int8,
        again=again,
    )


def _unscaled_embedding(architecture: Architecture, boundary: int) -> int:
    """Bytes of the embedding's output beside its multiple, which is the first layer's input.

    Checkpointing makes it a leaf that requires a gradient, and autograd holds its leaves.
    """
    return boundary if architecture.vocabulary.scales_embedding else 0


def _frozen_below(architecture: Architecture, method: Method) -> int:
    if method.finetuning_type is not FinetuningType.FREEZE:
        return 0
    return architecture.num_hidden_layers - method.freeze_trainable_layers


def _kept(layer: LayerMemory, n: int, scores: int) -> int:
    """Bytes of the tensors that one layer keeps, each as the allocator rounds it."""
    return sum(
        [
            count * block_bytes(per_token * n + constant + per_unit * scores)
            for (per_token, constant, per_unit), count in layer.kept
        ]
    )


def kept_bytes(architecture: Architecture, settings: TrainingSettings, *, trained: bool) -> int:
    """Bytes that one layer keeps for backward; ``trained``: the layer's weights get gradients.

    Ignores: masks of sliding windows.
    """
    n, scores = settings.tokens, settings.scores
    layer = layer_memory(architecture, settings.layer, trained=trained)
    return _kept(layer, n, scores) + int8_kept_bytes(architecture, settings)
