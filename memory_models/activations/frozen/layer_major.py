"""The layer-major schedule: what all passes of a step hold while they go through the layers.

Notation: M passes of a step, L layers, b bytes of one pass's layer input [B, S, D].
"""

from __future__ import annotations

from memory_models.activations.encoder import trains_encoder
from memory_models.activations.layers import LayerTotals
from memory_models.architecture import Architecture
from memory_models.rounding import block_bytes
from memory_models.settings import TrainingSettings
from memory_models.states.layer_inputs import (
    boundary_bytes,
    int8_input_bytes,
    int8_streamed_bytes,
)
from memory_models.states.precision import precision

IN_FLIGHT = 2
"""Inputs on their way to the host or back (training/streaming/layer_inputs.py)."""


def layer_major_totals(
    architecture: Architecture, settings: TrainingSettings, one: LayerTotals
) -> LayerTotals:
    """The totals of a step whose passes go through the layers together.

    ``one``: the totals of one checkpointed pass. Every pass has one tensor between two layers: its
    stream in forward, and in backward the gradient of it.
    """
    layers, passes, b = (
        architecture.num_hidden_layers,
        settings.passes_together,
        one.boundary,
    )
    on_host = settings.streaming.host_checkpoints
    # Where something below the layers is trained, the first layer's input stays with its graph.
    entry = passes * b if on_host and trains_encoder(architecture, settings.method) else 0
    # In backward one input is read while the next one comes back.
    inputs = b if on_host else layers * passes * b
    below = passes + IN_FLIGHT if on_host else 2 * passes
    int8 = int8_input_bytes(architecture, settings) - int8_streamed_bytes(architecture, settings)
    return one._replace(
        backward=one.backward - int8,
        first_backward=one.first_backward - int8,
        all_kept=inputs + passes * b + entry,
        # The input that a layer reads counts as ``boundary``, and so the next one does here. The
        # gradient of its own pass belongs to the layer's program; but the layer's result and its
        # gradient stay to the end of backward, as their names are still in use.
        last_kept=(1 - IN_FLIGHT) * b if on_host else 0,
        # Below all other layers, only the inputs of the first one are left.
        below_trained=below * b + entry,
    )


def tables_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes of the rotary tables of one pass: sines and cosines [1, S, A], kept for every pass."""
    if architecture.positions.learned_position_count:
        return 0
    attention = architecture.attention
    width = attention.rotary_dim or attention.head_dim
    positions = settings.sequence_length
    return 2 * block_bytes(positions * width * precision(settings.arithmetic).residual)


def host_input_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes of all layer inputs of a step in host memory, of one process."""
    if not settings.streaming.host_checkpoints:
        return 0
    inputs = architecture.num_hidden_layers * settings.passes_together
    return inputs * boundary_bytes(architecture, settings)
