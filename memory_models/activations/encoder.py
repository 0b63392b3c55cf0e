"""The time-series encoder as a program on the tape; a token of this program is one patch.

The tensors that the encoder keeps stay from before the first layer's forward until after that
layer's backward, because checkpointing wraps decoder layers alone. The program models
tsplanner/training/chatts (``TimeSeriesEmbedding``).
Ignores: the points of the series and the index tensors of the merge, both under 1 % of the kept
bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

from memory_models.activations.linears import linear
from memory_models.activations.ops import LayerOps
from memory_models.architecture import Architecture
from memory_models.rounding import block_bytes
from memory_models.settings import FinetuningType, LayerSettings, Method, TrainingSettings
from memory_models.symbolic import Size


def trains_encoder(architecture: Architecture, method: Method) -> bool:
    """Whether gradients flow into the encoder: its adapters or its weights are trained."""
    # ``freeze`` trains the last decoder layers alone; every other method trains the encoder too.
    frozen = method.finetuning_type is FinetuningType.FREEZE
    return architecture.encoder is not None and not frozen


def patches(settings: TrainingSettings) -> int:
    """Patches of all series of one micro-batch."""
    return settings.rows * settings.series_patches


def encoder_tensors(
    architecture: Architecture, settings: TrainingSettings
) -> Iterator[tuple[int, int]]:
    """Bytes and number of copies of the tensors that the encoder keeps for backward."""
    count = patches(settings)
    if not count or not trains_encoder(architecture, settings.method):
        return
    for size, copies in _kept(architecture, settings.layer):
        yield size.per_token * count + size.constant, copies


def encoder_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes that the encoder keeps for backward, each tensor as the allocator rounds it."""
    tensors = encoder_tensors(architecture, settings)
    return sum(copies * block_bytes(size) for size, copies in tensors)


@lru_cache(maxsize=1024)
def _kept(architecture: Architecture, settings: LayerSettings) -> tuple[tuple[Size, int], ...]:
    """Sizes of the kept tensors with a patch as the token, each with its number of tensors."""
    encoder = architecture.encoder
    if encoder is None:
        return ()
    trained = settings.method.trains_everything
    ops = LayerOps(architecture, settings, trained=trained)
    tape = ops.tape
    width, learned = Size(per_token=encoder.input_size), trained and encoder.use_position_embedding
    # The points of a series need no gradient; only a trained position embedding beside them does.
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
