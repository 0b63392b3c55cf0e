"""The memory traffic of a micro-batch: bytes and number of the tensors that it allocates.

Element-wise work is bound by memory: its time grows with the bytes that it moves, and the time of
small batches grows with the number of kernels. Both numbers come from the same tapes as the memory:
one kernel writes each tensor once, and later kernels read it a constant number of times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from memory_models.activations.events import Events, layer_events, lm_head_events
from memory_models.activations.layers import (
    active_layers,
    masked_above,
    masked_layers,
    recomputed_layers,
)
from memory_models.activations.lm_head import fused_rows
from memory_models.architecture import Architecture
from memory_models.recorded.recording import Recording
from memory_models.recorded.totals import recorded_parts
from memory_models.settings import HeadSettings, LayerSettings, LossKernel, TrainingSettings
from memory_models.symbolic import ALLOC, Size, total
from memory_models.units import ceil_div

FP32_BYTES = 4
CHUNK_WRITES = 8
"""Tensors [rows, V] in fp32 that one chunk of the fused loss writes, in-place writes included."""
CHUNK_TENSORS = 3
"""Cost of launching one chunk, in tensors: it is a dozen kernels, but autograd records none."""


class BytesWritten(NamedTuple):
    """The tensors that a program allocates."""

    size: Size
    """Sum of their bytes."""
    tensors: int

    def bytes(self, n: int, units: int) -> int:
        """Bytes for numbers of tokens and of the third unit (see ``Size``)."""
        return self.size.per_token * n + self.size.constant + self.size.per_unit * units


class Traffic(NamedTuple):
    """One micro-batch of one process, forward and backward."""

    bytes: int
    tensors: int
    plain_bytes: int = 0
    """Of these, bytes of the head and the plain loss, which no kernels of ours take part in."""
    plain_tensors: int = 0

    def shared(self, of_bytes: float, of_tensors: float) -> tuple[float, float]:
        """Bytes and tensors, if kernels leave such shares of what is not the plain loss."""
        bytes_ = self.plain_bytes + (self.bytes - self.plain_bytes) * of_bytes
        return bytes_, self.plain_tensors + (self.tensors - self.plain_tensors) * of_tensors


def _written(*events: Events) -> BytesWritten:
    made = [size for some in events for sign, size in some if sign == ALLOC]
    return BytesWritten(size=total(made), tensors=len(made))


@lru_cache(maxsize=4096)
def layer_written(
    architecture: Architecture, settings: LayerSettings, *, trained: bool, masked: bool
) -> tuple[BytesWritten, BytesWritten]:
    """Tensors that one layer writes in forward, and in backward with the recomputation."""
    accumulates = settings.accumulates
    found = layer_events(
        architecture, settings, trained=trained, masked=masked, accumulates=accumulates
    )
    return _written(found.forward), _written(found.backward)


@lru_cache(maxsize=4096)
def lm_head_written(architecture: Architecture, settings: HeadSettings) -> BytesWritten:
    """Tensors that last norm, lm_head and loss write."""
    forward, backward = lm_head_events(architecture, settings, accumulates=False, first=False)
    return _written(forward, backward)


def _layers(
    architecture: Architecture, settings: TrainingSettings
) -> list[tuple[LayerSettings, bool, int]]:
    """Kinds of layers: their settings, whether they need a mask, and their number."""
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


def _layers_written(
    architecture: Architecture, settings: TrainingSettings
) -> Iterator[tuple[BytesWritten, BytesWritten, int]]:
    """What each kind of layer writes in forward and in backward, and the number of such layers."""
    if architecture.layer.recorded:
        for found, places in recorded_parts(architecture, settings):
            kinds = _recorded_written(found, settings.layer.accumulates)
            for kind, count in Counter(found.pattern[place] for place in places).items():
                yield *kinds[kind], count
        return
    trained = settings.method.trains_base
    for layer, is_masked, count in _layers(architecture, settings):
        if count:
            made = layer_written(architecture, layer, trained=trained, masked=is_masked)
            yield *made, count


@lru_cache(maxsize=512)
def _recorded_written(
    found: Recording, accumulates: bool
) -> tuple[tuple[BytesWritten, BytesWritten], ...]:
    return tuple(
        (_written(layer.forward), _written(layer.accumulating if accumulates else layer.backward))
        for layer in found.layers
    )


def traffic(architecture: Architecture, settings: TrainingSettings) -> Traffic:
    """Bytes written and tensors allocated by one micro-batch of one process.

    Ignores: the embedding, the time-series encoder, rotary tables.
    """
    n, scores = settings.tokens, settings.scores
    layers, active = architecture.num_hidden_layers, active_layers(architecture, settings.layer)
    size = tensors = 0
    for forward, backward, count in _layers_written(architecture, settings):
        working = count * active // layers
        size += count * forward.bytes(n, scores) + working * backward.bytes(n, scores)
        tensors += count * forward.tensors + working * backward.tensors
    head = lm_head_written(architecture, settings.head)
    if settings.kernels.loss_kernel is LossKernel.PLAIN:
        loss = head.bytes(n, 0)
        return Traffic(size + loss, tensors + head.tensors, loss, head.tensors)
    rows = fused_rows(architecture, settings)
    chunks = ceil_div(n, max(1, rows))
    # The program holds the tensors of one chunk, so the traffic of all chunks is added here.
    loss = CHUNK_WRITES * FP32_BYTES * architecture.vocabulary.vocab_size * n
    return Traffic(size + head.bytes(n, 0) + loss, tensors + head.tensors + CHUNK_TENSORS * chunks)


def forward_traffic(architecture: Architecture, settings: TrainingSettings) -> Traffic:
    """Bytes written and tensors allocated by the forward of one micro-batch, up to the loss.

    Ignores: what `traffic` ignores; the fused loss of an evaluation, which makes no gradients.
    """
    n, scores = settings.tokens, settings.scores
    size = tensors = 0
    for forward, _, count in _layers_written(architecture, settings):
        size += count * forward.bytes(n, scores)
        tensors += count * forward.tensors
    events, _ = lm_head_events(architecture, settings.head, accumulates=False, first=False)
    head = _written(events)
    if settings.kernels.loss_kernel is LossKernel.PLAIN:
        loss = head.bytes(n, 0)
        return Traffic(size + loss, tensors + head.tensors, loss, head.tensors)
    units = fused_rows(architecture, settings)
    return Traffic(size + head.bytes(n, units), tensors + head.tensors)
