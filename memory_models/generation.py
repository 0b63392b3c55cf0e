"""Bytes of a greedy generation of one row between two steps, held against the step's own peak.

A run may answer held-out rows after an evaluation, where gradients and activations of the step are
gone. Notation: n positions of prompt and answer, L layers, K key/value heads, A head size, V
vocabulary. Never measured on a GPU.
"""

from __future__ import annotations

from dataclasses import replace

from memory_models.activations.attention import plain_attention
from memory_models.activations.decoder_layer import layer_memory
from memory_models.activations.encoder import encoder_bytes
from memory_models.activations.layers import mask_bytes, masked_layers
from memory_models.activations.lm_head import lm_head_memory
from memory_models.architecture import Architecture
from memory_models.rounding import block_bytes
from memory_models.settings import (
    Attention,
    LossKernel,
    TrainingSettings,
    changed,
    effective_settings,
)
from memory_models.states.adapters import trainable_parameters
from memory_models.states.layer_inputs import (
    autocast_cache_bytes,
    boundary_bytes,
    int8_input_bytes,
)
from memory_models.states.precision import precision
from memory_models.step_order import StepPhase
from memory_models.step_phases import phase_peaks

KEYS_AND_VALUES = 2
HELD_COPIES = 2
"""The cache grows by a copy per token, and the holes that the copies leave may fit nothing else."""
LOGIT_COPIES = 3
"""Of the one position: as the run casts a model's outputs, as ``generate`` copies them, as scored.
Source: transformers generation/utils.py (``_sample``)."""
FP32_BYTES = 4


def cache_bytes(architecture: Architecture, settings: TrainingSettings, positions: int) -> int:
    """Bytes of the keys and values of one row: 2 L K A n elements, in the wider of two dtypes.

    Keys are rotated in the stream's dtype, which an fp32 model under autocast has in fp32.
    Source: transformers cache_utils.py (``DynamicLayer``).
    """
    attention, flow = architecture.attention, precision(effective_settings(settings).arithmetic)
    elements = attention.num_key_value_heads * attention.head_dim * positions
    tensor = block_bytes(elements * max(flow.operand, flow.residual, flow.projected))
    return KEYS_AND_VALUES * architecture.num_hidden_layers * tensor


def generation_bytes(architecture: Architecture, settings: TrainingSettings, positions: int) -> int:
    """Most bytes above the persistent ones while one row is answered, as an upper bound.

    The cache twice, one layer at all positions as training runs it (without gradients less is
    alive), the head at one position, casts that autocast holds until the answer is done, and what
    communication keeps of gradients between steps.

    Raises:
        ValueError: the layers have no formula, or ``positions`` is none.
    """
    if architecture.layer.recorded:
        raise ValueError(f"a generation needs layers with a formula, not {architecture.model_type}")
    gradients = _resting_gradients(architecture, settings)
    row = _alone(architecture, effective_settings(settings), positions)
    trained, masked = row.method.trains_base, masked_layers(architecture, row) > 0
    layer = layer_memory(architecture, row.layer, trained=trained, masked=masked)
    head = lm_head_memory(architecture, replace(row.head, loss_kernel=LossKernel.PLAIN))
    return (
        HELD_COPIES * cache_bytes(architecture, settings, positions)
        + block_bytes(boundary_bytes(architecture, row))
        + layer.forward.bytes(row.tokens, row.scores)
        + int8_input_bytes(architecture, row)
        + mask_bytes(architecture, row)
        + encoder_bytes(architecture, row)
        + head.forward.bytes(1, 1)
        + LOGIT_COPIES * block_bytes(FP32_BYTES * architecture.vocabulary.vocab_size)
        + autocast_cache_bytes(trainable_parameters(architecture, row.method), row.states)
        + gradients
    )


def step_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes above the persistent ones at the peak of an optimizer step."""
    phases = phase_peaks(architecture, effective_settings(settings))
    return max(phase.bytes for phase in phases)


def generation_room(architecture: Architecture, settings: TrainingSettings, most: int) -> int:
    """Positions of prompt and answer, up to ``most``, that take no more than a step does; or 0."""
    limit = step_bytes(architecture, settings)
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if generation_bytes(architecture, settings, middle) <= limit:
            low = middle
        else:
            high = middle - 1
    return low


def _alone(
    architecture: Architecture, settings: TrainingSettings, positions: int
) -> TrainingSettings:
    """The settings of one row of ``positions``, of which all may be patches, with no checkpoint.

    Answers are made by the attention that a model was built with, which flex_attention is not.
    """
    attention = settings.kernels.attention
    if attention is Attention.FLEX_ATTENTION:
        attention = plain_attention(architecture.attention)
    one = changed(
        settings,
        attention=attention,
        micro_batch_size=1,
        gradient_accumulation_steps=1,
        gradient_checkpointing=False,
        checkpointed_layers=None,
        token_budget=None,
    )
    patches = min(positions, settings.series_patches)
    return replace(one, sequence_length=positions, series_patches=patches, row_length=None)


def _resting_gradients(architecture: Architecture, settings: TrainingSettings) -> int:
    """Gradients, or the buckets that reduce them, that exist as a forward begins."""
    phases = phase_peaks(architecture, effective_settings(settings))
    return next(phase.gradients for phase in phases if phase.phase is StepPhase.FORWARD)
