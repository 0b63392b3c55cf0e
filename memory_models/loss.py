"""Output head and loss: the largest moment of most runs with a large vocabulary.

Notation: n tokens, V vocabulary, D hidden size.
"""

from __future__ import annotations

from memory_models.activations import tokens
from memory_models.architecture import Architecture
from memory_models.precision import precision
from memory_models.settings import Dtype, FinetuningType, LossKernel, TrainingSettings
from memory_models.units import ceil_div
from memory_models.weights import embedding_parameters

FP32 = 4

FORWARD_BYTES = {2: 10, 4: 8}
"""Bytes a logit at forward's peak, by the logits' own size: logits, their fp32 copy (none for
fp32 logits), log-softmax. Source: transformers ``ForCausalLMLoss``, torch ``cross_entropy``."""
BACKWARD_BYTES = 12
"""Bytes a logit in backward, the logits freed: saved log-softmax, its gradient, the result."""


def logit_element_bytes(settings: TrainingSettings) -> int:
    """Bytes of one logit as the head returns it."""
    return 4 if settings.autocast is None and settings.model_dtype is Dtype.FP32 else 2


def fused_rows(architecture: Architecture, settings: TrainingSettings) -> int:
    """Rows of a chunk: tokens over (V / D), rounded up to a power of two.

    So a chunk's logits [rows, V] take about as much as the hidden states [n, D].
    Source: Liger kernel (arXiv 2410.10989), section 3.2.
    """
    chunks = ceil_div(architecture.vocab_size, architecture.hidden_size)
    rows = ceil_div(tokens(settings), chunks)
    return min(tokens(settings), 1 << (rows - 1).bit_length())


def final_norm_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes that the last norm keeps (fp32 copy) and the head reads, [n, D] each."""
    width = tokens(settings) * architecture.hidden_size
    return width * (FP32 + precision(settings).residual)


def loss_forward_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Transient bytes at the end of forward."""
    if settings.loss_kernel is LossKernel.FUSED:
        return fused_loss_bytes(architecture, settings)
    element = logit_element_bytes(settings)
    return tokens(settings) * architecture.vocab_size * FORWARD_BYTES[element]


def loss_backward_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Transient bytes at the start of backward; soft-capped logits keep their tanh as well."""
    if settings.loss_kernel is LossKernel.FUSED:
        return tokens(settings) * architecture.hidden_size * logit_element_bytes(settings)
    capped = logit_element_bytes(settings) if architecture.final_logit_softcapping else 0
    return tokens(settings) * architecture.vocab_size * (BACKWARD_BYTES + capped)


def fused_loss_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Transient bytes of the chunked head and loss: one chunk's logits, their fp32 log-softmax and
    gradient, and the gradient of the hidden states [n, D].
    """
    element = logit_element_bytes(settings)
    chunk = fused_rows(architecture, settings) * architecture.vocab_size
    hidden = tokens(settings) * architecture.hidden_size * element
    return chunk * (element + 2 * FP32) + hidden


def fused_head_gradient_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes of a trained head's gradient in the fused loss: summed up in fp32, then cast.

    Source: tsplanner/training/fused_loss.py.
    """
    if settings.finetuning_type is not FinetuningType.FULL:
        return 0
    narrow = 2 if settings.model_dtype is not Dtype.FP32 else 0
    return (FP32 + narrow) * embedding_parameters(architecture)


def head_cast_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes of the half-precision copy of an fp32 head [V, D], kept until its backward."""
    fp32_head = settings.quantization is not None or settings.model_dtype is Dtype.FP32
    if settings.autocast is None or not fp32_head:
        return 0
    return 2 * embedding_parameters(architecture)
