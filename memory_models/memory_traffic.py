"""What a micro-batch writes: the bytes and the number of the tensors that it makes.

Element-wise work is bound by memory: its time goes with the bytes it moves, and that of small
batches with the number of kernels. Both are read off the same tapes as the memory: every tensor
is written once by one kernel, and read again a constant few times.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from memory_models.activations.events import Event, block_events, tail_events
from memory_models.activations.layers import (
    active_layers,
    masked_above,
    masked_layers,
    recomputed_layers,
)
from memory_models.activations.loss_chunks import fused_rows
from memory_models.activations.tape import Size
from memory_models.architecture import Architecture
from memory_models.settings import HeadSettings, LayerSettings, LossKernel, TrainingSettings
from memory_models.units import ceil_div

CHUNK_WRITES = 8
"""Tensors [rows, V] in fp32 that one chunk of the fused loss writes, those in place included."""
CHUNK_TENSORS = 3
"""What issuing one chunk costs, in tensors: a dozen kernels, but none of them recorded."""


class Written(NamedTuple):
    """Tensors made, and their bytes a token, fixed, and a third unit (see ``tape``)."""

    size: Size
    tensors: int

    def bytes(self, n: int, third: int) -> int:
        """Bytes for so many tokens and units."""
        return self.size[0] * n + self.size[1] + self.size[2] * third


class Traffic(NamedTuple):
    """One micro-batch, forward and backward."""

    bytes: int
    tensors: int


def _written(*events: tuple[Event, ...]) -> Written:
    made = [size for some in events for sign, size in some if sign > 0]
    a, b, c = (sum(size[place] for size in made) for place in range(3))
    return Written(size=(a, b, c), tensors=len(made))


@lru_cache(maxsize=4096)
def block_written(
    architecture: Architecture, settings: LayerSettings, *, trained: bool, masked: bool
) -> tuple[Written, Written]:
    """Forward of one block, and its backward with the recomputation."""
    accumulates = settings.accumulates
    found = block_events(
        architecture, settings, trained=trained, masked=masked, accumulates=accumulates
    )
    return _written(found.forward), _written(found.backward)


@lru_cache(maxsize=4096)
def tail_written(architecture: Architecture, settings: HeadSettings) -> Written:
    """Last norm, head and loss."""
    forward, backward = tail_events(architecture, settings, accumulates=False, first=False)
    return _written(forward, backward)


def _blocks(
    architecture: Architecture, settings: TrainingSettings
) -> list[tuple[LayerSettings, bool, int]]:
    """Settings, mask or none, and number of all blocks."""
    layer = settings.layer
    layers, masked = architecture.num_hidden_layers, masked_layers(architecture, settings)
    if settings.batch.checkpointed_layers is None:
        return [(layer, False, layers - masked), (layer, True, masked)]
    first, above = recomputed_layers(architecture, settings), masked_above(architecture, settings)
    plain = layer.without_checkpoint
    return [
        (layer, False, first - masked + above),
        (layer, True, masked - above),
        (plain, False, layers - first - above),
        (plain, True, above),
    ]


def traffic(architecture: Architecture, settings: TrainingSettings) -> Traffic:
    """Bytes written and tensors made by one micro-batch of one rank.

    Ignores: the embedding, the time-series encoder, rotary tables.
    """
    n, scores = settings.tokens, settings.scores
    trained = settings.method.trains_base
    layers, active = architecture.num_hidden_layers, active_layers(architecture, settings.layer)
    size = tensors = 0
    for layer, is_masked, count in _blocks(architecture, settings):
        if count == 0:
            continue
        forward, backward = block_written(architecture, layer, trained=trained, masked=is_masked)
        working = count * active // layers
        size += count * forward.bytes(n, scores) + working * backward.bytes(n, scores)
        tensors += count * forward.tensors + working * backward.tensors
    tail = tail_written(architecture, settings.head)
    if settings.kernels.loss_kernel is LossKernel.PLAIN:
        return Traffic(size + tail.bytes(n, 0), tensors + tail.tensors)
    rows = fused_rows(architecture, settings)
    chunks = ceil_div(n, max(1, rows))
    loss = CHUNK_WRITES * 4 * architecture.vocabulary.vocab_size * n
    return Traffic(size + tail.bytes(n, 0) + loss, tensors + tail.tensors + CHUNK_TENSORS * chunks)
