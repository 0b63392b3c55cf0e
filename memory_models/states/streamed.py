"""Weights of streamed layers: in host memory, and in the buffers through which they pass."""

from __future__ import annotations

from collections.abc import Iterator

from memory_models.architecture import Architecture, Linear
from memory_models.rounding import BLOCK_BYTES, block_bytes
from memory_models.settings import Dtype, Quantization, StateSettings
from memory_models.states.storage import BYTES, NF4_BLOCK, NF4_NESTED_BLOCK
from memory_models.states.weights import layer_tensors, packed_bytes
from memory_models.units import ceil_div, round_up

BUFFERS = 2
"""The layer at work and the layer that comes (training/streaming/feed.py)."""
PAGE_BYTES = 4096
"""Host memory is locked by pages."""


def streamed_tensors(
    architecture: Architecture, settings: StateSettings
) -> Iterator[tuple[int, int]]:
    """Bytes of every frozen tensor of the decoder layers that is streamed, and how many layers
    have it.

    Scales of the rows of 8-bit matrices, and codes of 4-bit ones, stay on the device.
    """
    yield from layer_tensors(architecture, settings, packed_tensors)


def packed_tensors(linear: Linear, quantization: Quantization) -> Iterator[int]:
    """Bytes of the packed matrix of a linear, and of each of its constants that is streamed.

    Source: as ``storage.nf4_bytes``.
    """
    yield packed_bytes(linear, quantization)
    blocks = ceil_div(linear.weight_count, NF4_BLOCK)
    if quantization is Quantization.NF4:
        yield BYTES[Dtype.FP32] * blocks
    if quantization is Quantization.NF4_DQ:
        yield blocks
        yield BYTES[Dtype.FP32] * ceil_div(blocks, NF4_NESTED_BLOCK)


def layer_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of one layer's frozen weights side by side, the mean of layers that differ."""
    total = sum(
        copies * round_up(size, BLOCK_BYTES)
        for size, copies in streamed_tensors(architecture, settings)
    )
    return ceil_div(total, architecture.num_hidden_layers)


def device_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of the buffers on the device, less those of the layers that are not there."""
    streamed = settings.streaming.most
    if not streamed:
        return 0
    # As ``weight_bytes`` counts them: every weight is a block of its own, and quantised ones fill
    # blocks that were cut from larger ones.
    rounded = layer_tensors(architecture, settings, lambda *_: ())
    rest = sum(copies * (block_bytes(size) - size) for size, copies in rounded)
    whole = rest + sum(copies * size for size, copies in streamed_tensors(architecture, settings))
    buffer = block_bytes(layer_bytes(architecture, settings))
    return BUFFERS * buffer - whole * streamed // architecture.num_hidden_layers


def slab_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of the streamed layers in host memory, a process's share of what all have together.

    The processes of a machine share one copy of every layer that any of them streams. Of layers in
    files, each process has two to pass through.
    """
    one = round_up(layer_bytes(architecture, settings), PAGE_BYTES)
    if settings.streaming.stream_from_files:
        return BUFFERS * one
    held = len(settings.streaming.on_host(architecture.num_hidden_layers))
    return ceil_div(held * one, settings.sharding.processes_per_node)


def crossing_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of weights that cross the link to the host in one optimizer step.

    Every streamed layer crosses once forward and once backward. Where forward turns into backward,
    and where a step follows a step, the layers in the buffers are the ones that come next. Where
    processes stream unlike numbers it is the process that streams the most.
    """
    streamed = settings.streaming.most
    turns = 2 * min(BUFFERS, streamed)
    return max(0, 2 * streamed - turns) * layer_bytes(architecture, settings)
