"""The stack of blocks: what it keeps for backward, and what the one block at work takes."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from memory_models.activations.decoder_layer import BlockMemory, block_memory
from memory_models.activations.encoder import trains_encoder
from memory_models.activations.peaks import Moments
from memory_models.architecture import Architecture
from memory_models.rounding import block_bytes
from memory_models.settings import (
    Attention,
    FinetuningType,
    LayerSettings,
    Method,
    TrainingSettings,
)
from memory_models.states.layer_inputs import boundary_bytes, int8_input_bytes
from memory_models.states.precision import precision


def active_layers(architecture: Architecture, settings: LayerSettings) -> int:
    """Blocks that keep anything for backward: those at and above the first trained one.

    Checkpointing makes the embedding's output require a gradient, and so every block.
    Source: transformers ``gradient_checkpointing_enable`` (``enable_input_require_grads``).
    """
    method = settings.method
    if method.finetuning_type is FinetuningType.FREEZE and not settings.checkpointed:
        return min(method.freeze_trainable_layers, architecture.num_hidden_layers)
    return architecture.num_hidden_layers


def recomputed_layers(architecture: Architecture, settings: TrainingSettings) -> int:
    """Blocks whose forward runs once more in backward: the first ones of those that are active."""
    if not settings.batch.gradient_checkpointing:
        return 0
    return settings.batch.checkpointed_layers or active_layers(architecture, settings.layer)


def passes(architecture: Architecture, settings: TrainingSettings) -> float:
    """Times a micro-batch goes through a block: forward, backward, and once more."""
    return 2 + recomputed_layers(architecture, settings) / architecture.num_hidden_layers


def masked_layers(architecture: Architecture, settings: TrainingSettings) -> int:
    """Blocks whose window is not longer than the sequence: their attention needs a mask.

    Source: transformers masking_utils.py (``_ignore_causal_mask_sdpa``).
    """
    window = architecture.attention.sliding_window
    if window is None or settings.sequence_length < window:
        return 0
    return architecture.attention.sliding_layers


def masked_above(architecture: Architecture, settings: TrainingSettings) -> int:
    """The share of them that lies above the checkpointed blocks."""
    above = architecture.num_hidden_layers - recomputed_layers(architecture, settings)
    return masked_layers(architecture, settings) * above // architecture.num_hidden_layers


def mask_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes of attention masks [B, 1, S, S] that a step holds; flash and causal sdpa need none.

    Eager attention adds masks of the stream's dtype, one for each kind of block; sdpa has truth
    values for windowed blocks. Source: transformers masking_utils.py.
    """
    cells = settings.scores
    windowed = masked_layers(architecture, settings)
    if settings.kernels.attention is Attention.EAGER:
        kinds = (
            2 if 0 < architecture.attention.sliding_layers < architecture.num_hidden_layers else 1
        )
        return kinds * cells * precision(settings.arithmetic).residual
    return cells if windowed and settings.kernels.attention is Attention.SDPA else 0


def layers_in_turn(
    architecture: Architecture, settings: TrainingSettings
) -> list[tuple[LayerSettings, bool]]:
    """Of every block in backward, from the first: its settings, and whether it needs a mask."""
    layer = settings.layer
    layers = active_layers(architecture, layer)
    masked = min(layers, masked_layers(architecture, settings))
    if settings.batch.checkpointed_layers is None:
        return [(layer, place < masked) for place in range(layers)]
    first, above = recomputed_layers(architecture, settings), masked_above(architecture, settings)
    plain = layer.without_checkpoint
    lower = [(layer, place < masked - above) for place in range(first)]
    return lower + [(plain, place < above) for place in range(layers - first)]


class Programs(NamedTuple):
    """The programs of the blocks that take part in backward."""

    kinds: tuple[tuple[BlockMemory, int], ...]
    """Blocks without a mask, then with one, and how many there are of each."""
    first: BlockMemory
    """The first of them; its input needs no gradient where nothing below it is trained."""


@lru_cache(maxsize=4096)
def programs(architecture: Architecture, settings: LayerSettings, masked: int) -> Programs:
    """Programs of all blocks, ``masked`` of them with a mask."""
    trained = settings.method.trains_base
    layers = active_layers(architecture, settings)
    masked = min(layers, masked)
    kinds = tuple(
        (block_memory(architecture, settings, trained=trained, masked=is_masked), count)
        for is_masked, count in ((False, layers - masked), (True, masked))
        if count
    )
    first = kinds[-1][0]
    method = settings.method
    below = trains_encoder(architecture, method) or method.trains_everything
    if not settings.checkpointed and not below:
        first = block_memory(architecture, settings, trained=trained, first=True, masked=masked > 0)
    return Programs(kinds=kinds, first=first)


class Stack(NamedTuple):
    """Bytes of the blocks for a step's tokens and attention scores."""

    boundary: int
    """The last block's checkpoint; without one a block's input is part of what it keeps."""
    all_kept: int
    """What all blocks keep."""
    last_kept: int
    """What the last block keeps of it."""
    below_trained: int
    """Checkpoints of frozen blocks below the first trained one, and its own beside ``boundary``."""
    forward: int
    """Peak of one block in forward."""
    backward: int
    """Peak of one block in backward, recomputation and its own kept bytes included."""
    first_backward: int
    """The same of the first block."""
    plain: int = 0
    """Of ``all_kept`` what blocks keep that are not checkpointed where others are."""
    below_plain: int = 0
    """Checkpoints that are there when the last checkpointed one of such a stack runs again."""
    again: int = 0
    """Peak of that block in backward; 0: all blocks are alike."""


def stack_of(architecture: Architecture, settings: TrainingSettings) -> Stack:
    """The stack of blocks of one step."""
    n, scores = settings.tokens, settings.scores
    int8 = int8_input_bytes(architecture, settings)
    found = programs(architecture, settings.layer, masked_layers(architecture, settings))

    def peak(moments: Moments) -> int:
        return moments.bytes(n, scores) + int8

    backward = max([peak(kind.backward) for kind, _ in found.kinds])
    first_backward = peak(found.first.backward)
    if settings.batch.checkpointed_layers is not None:
        return _selective(architecture, settings, max(backward, first_backward))
    if settings.batch.gradient_checkpointing:
        boundary = block_bytes(boundary_bytes(architecture, settings))
        return Stack(
            boundary=boundary,
            all_kept=active_layers(architecture, settings.layer) * (boundary + int8),
            last_kept=boundary + int8,
            below_trained=_frozen_below(architecture, settings.method) * boundary,
            forward=0,
            backward=backward,
            first_backward=max(backward, first_backward),
        )
    kept = [_kept(kind, n, scores) + int8 for kind, _ in found.kinds]
    total = sum([count * size for (_, count), size in zip(found.kinds, kept, strict=True)])
    return Stack(
        boundary=0,
        all_kept=total - kept[-1] + _kept(found.first, n, scores) + int8,
        last_kept=max(kept),
        below_trained=0,
        forward=max([peak(kind.forward) for kind, _ in found.kinds]),
        backward=backward,
        first_backward=first_backward,
    )


class _Plain(NamedTuple):
    """Blocks that keep everything above checkpointed ones."""

    memory: BlockMemory
    number: int
    frozen: bool
    """Below the first trained one."""


def _plain_blocks(architecture: Architecture, settings: TrainingSettings) -> list[_Plain]:
    """Their kinds; blocks with a mask have their share of them."""
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
        _Plain(
            memory=block_memory(
                architecture, layer, trained=trained and not is_frozen, masked=is_masked
            ),
            number=count,
            frozen=is_frozen,
        )
        for is_frozen, is_masked, count in counts
        if count
    ]


def _selective(architecture: Architecture, settings: TrainingSettings, again: int) -> Stack:
    """A stack whose first blocks are checkpointed; ``again``: peak of one of them in backward.

    At the loss it does not matter which ones are. When the first ones run again, what the others
    kept is gone already.
    """
    n, scores = settings.tokens, settings.scores
    int8 = int8_input_bytes(architecture, settings)
    boundary = block_bytes(boundary_bytes(architecture, settings))
    first, below = (
        recomputed_layers(architecture, settings),
        _frozen_below(architecture, settings.method),
    )
    plain = _plain_blocks(architecture, settings)
    sizes = [_kept(blocks.memory, n, scores) + int8 for blocks in plain]
    totals = [blocks.number * size for blocks, size in zip(plain, sizes, strict=True)]
    backward = int8 + max([blocks.memory.backward.bytes(n, scores) for blocks in plain])
    below_trained, first_backward = (below + 1) * boundary, again
    if below >= first:
        frozen = [total for blocks, total in zip(plain, totals, strict=True) if blocks.frozen]
        below_trained, first_backward = first * boundary + sum(frozen), backward
    return Stack(
        boundary=0,
        all_kept=first * (boundary + int8) + sum(totals),
        last_kept=max(sizes),
        below_trained=below_trained,
        forward=int8 + max([blocks.memory.forward.bytes(n, scores) for blocks in plain]),
        backward=backward,
        first_backward=first_backward,
        plain=sum(totals),
        below_plain=first * boundary + (first - 1) * int8,
        again=again,
    )


def _frozen_below(architecture: Architecture, method: Method) -> int:
    if method.finetuning_type is not FinetuningType.FREEZE:
        return 0
    return architecture.num_hidden_layers - method.freeze_trainable_layers


def _kept(block: BlockMemory, n: int, scores: int) -> int:
    """Bytes of the tensors that one block keeps, each as the allocator rounds it."""
    return sum([count * block_bytes(a * n + b + c * scores) for (a, b, c), count in block.kept])


def kept_bytes(architecture: Architecture, settings: TrainingSettings, *, trained: bool) -> int:
    """Bytes that one block has for backward, kept or recomputed; ``trained``: its own weights too.

    Ignores: masks of sliding windows.
    """
    n, scores = settings.tokens, settings.scores
    block = block_memory(architecture, settings.layer, trained=trained)
    return _kept(block, n, scores) + int8_input_bytes(architecture, settings)
