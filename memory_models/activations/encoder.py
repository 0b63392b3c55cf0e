"""The time-series encoder as a program on the tape; its token is a patch.

What it keeps stays from before the first block's forward until after its backward: checkpointing
wraps the blocks alone. Stands for tsplanner/training/chatts/encoder.py (``TimeSeriesEmbedding``).
Ignores: the points of the series, the merge's index tensors, both under 1 % of what is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

from memory_models.activations.linears import linear
from memory_models.activations.ops import LayerOps
from memory_models.activations.tape import Size
from memory_models.architecture import Architecture
from memory_models.rounding import block_bytes
from memory_models.settings import FinetuningType, LayerSettings, Method, TrainingSettings


def trains_encoder(architecture: Architecture, method: Method) -> bool:
    """Whether gradients flow into the encoder: by its adapters, or in full fine-tuning."""
    frozen = method.finetuning_type is FinetuningType.FREEZE
    return architecture.encoder is not None and not frozen


def patches(settings: TrainingSettings) -> int:
    """Patches of all series of one micro-batch."""
    return settings.rows * settings.series_patches


def encoder_tensors(
    architecture: Architecture, settings: TrainingSettings
) -> Iterator[tuple[int, int]]:
    """(bytes, copies) of the tensors that the encoder keeps for backward."""
    count = patches(settings)
    if not count or not trains_encoder(architecture, settings.method):
        return
    for (a, b, _), copies in _kept(architecture, settings.layer):
        yield a * count + b, copies


def encoder_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes that the encoder keeps for backward, each tensor as the allocator rounds it."""
    tensors = encoder_tensors(architecture, settings)
    return sum(copies * block_bytes(size) for size, copies in tensors)


@lru_cache(maxsize=1024)
def _kept(architecture: Architecture, settings: LayerSettings) -> tuple[tuple[Size, int], ...]:
    """Tensors kept of one patch, and how many of each size."""
    encoder = architecture.encoder
    if encoder is None:
        return ()
    trained = settings.method.trains_everything
    ops = LayerOps(architecture, settings, trained=trained)
    tape = ops.tape
    width, learned = (encoder.input_size, 0, 0), trained and encoder.use_position_embedding
    value = tape.new(width, ops.flow.residual, needs=learned)
    for index, layer in enumerate(encoder.linears):
        if index:
            curved = tape.op((value,), value.elements, value.bytes, saves=(value,))
            tape.drop(value)
            value = curved
        result = linear(ops, layer, value)
        tape.drop(value)
        value = result
    return tuple(Counter(tape.saved()).items())
