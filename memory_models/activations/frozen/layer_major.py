"""The layer-major schedule: what all passes of a step hold while they go through the layers.

Notation: M passes of a step, L layers, b bytes of one pass's layer input [B, S, D].
"""

from __future__ import annotations

from memory_models.activations.encoder import trains_encoder
from memory_models.activations.layers import LayerTotals
from memory_models.architecture import Architecture
from memory_models.rounding import block_bytes
from memory_models.settings import (
    DecoderKernels,
    Quantization,
    TrainingSettings,
    input_stays,
)
from memory_models.states.layer_inputs import (
    boundary_bytes,
    int8_input_bytes,
    int8_streamed_bytes,
)
from memory_models.states.precision import precision
from memory_models.units import ceil_div


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
    kept = settings.streaming.kept_inputs(layers)
    # Inputs of the first layer, the last that backward reads: those that stay, and the others.
    first = max(0, ceil_div((passes + 1) * kept, layers) - 1)
    away = passes - first
    # Where something below the layers is trained, the first layer's input stays with its graph.
    entry = away * b if trains_encoder(architecture, settings.method) else 0
    # One input comes back from the host while another one is read, which came as well or was here.
    coming = b if kept < layers else 0
    read = 1 if input_stays((layers - 1) * passes, kept, layers) else 2
    # Below all other layers, only the inputs of the first one are left.
    below = first + passes - 2 + min(away, read)
    int8 = int8_input_bytes(architecture, settings) - int8_streamed_bytes(architecture, settings)
    result = _result_bytes(settings, b)
    return one._replace(
        backward=one.backward - int8 + result,
        first_backward=one.first_backward - int8 + result,
        all_kept=kept * passes * b + coming + passes * b + entry,
        # The gradient of the pass at work belongs to the layer's program, and the input that the
        # layer reads is its ``boundary``.
        last_kept=2 * b if kept else b,
        below_trained=below * b + entry,
    )


def _result_bytes(settings: TrainingSettings, b: int) -> int:
    """Bytes of the layer's result, which stays to the end of its backward.

    A checkpointed layer computes none, as its recomputation ends at the last tensor that backward
    reads. Compiled kernels end it one product later, whose output is as large, but for products of
    int8 rows, which are rounded first; bitsandbytes' int8 products hold a copy of it.
    Source: traces (tests/tracing/test_streamed.py).
    """
    form = settings.base.quantization
    if (
        settings.kernels.decoder_kernels is DecoderKernels.COMPILED
        and form is not Quantization.W8A8
    ):
        return 0
    return 2 * b if form is Quantization.INT8 else b


def tables_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes of the rotary tables of one pass: sines and cosines [1, S, A], kept for every pass."""
    if architecture.positions.learned_position_count:
        return 0
    attention = architecture.attention
    width = attention.rotary_dim or attention.head_dim
    positions = settings.sequence_length
    return 2 * block_bytes(positions * width * precision(settings.arithmetic).residual)


def host_input_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes of the layer inputs of a step that wait in host memory, of one process."""
    if not settings.streaming.sends_inputs:
        return 0
    layers = architecture.num_hidden_layers
    inputs = (layers - settings.streaming.kept_inputs(layers)) * settings.passes_together
    return inputs * boundary_bytes(architecture, settings)
