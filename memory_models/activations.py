"""Activations of a decoder block: what it keeps for backward, per rank.

Notation: B micro batch, S tokens, n = B x S, D hidden, F MLP, H query heads, K key/value heads,
A head size, R adapter rank. Widths below are elements per token; multiplied by n at the end.
"""

from __future__ import annotations

from memory_models.adapters import is_targeted
from memory_models.architecture import Activation, Architecture, Linear, Norm, Role
from memory_models.precision import Precision, precision
from memory_models.settings import (
    Attention,
    Dtype,
    FinetuningType,
    Quantization,
    TrainingSettings,
)

FP32 = 4
READS_STREAM = frozenset({Role.QUERY, Role.KEY, Role.VALUE, Role.QKV})
READS_MLP_INPUT = frozenset({Role.GATE, Role.UP, Role.GATE_UP})


def tokens(settings: TrainingSettings) -> int:
    """Decoder positions of one micro-batch, n = B x S."""
    return settings.micro_batch_size * settings.sequence_length


def boundary_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes of one block's input [B, S, D], in the stream's dtype: one checkpoint."""
    return tokens(settings) * architecture.hidden_size * precision(settings).residual


def block_kept_bytes(
    architecture: Architecture, settings: TrainingSettings, *, trained: bool
) -> int:
    """Bytes that one block keeps for backward when it is not checkpointed.

    ``trained``: the block's own weights receive gradients (full, freeze).
    Source: the operations of transformers' decoder layers and what autograd saves of each.
    Ignores: masks, rotary tables, single numbers a row.
    """
    flow = precision(settings)
    return (
        _norm_bytes(architecture, settings, flow, trained=trained)
        + tokens(settings) * architecture.dropouts_per_layer * architecture.hidden_size
        + _attention_bytes(architecture, settings, flow)
        + _mlp_bytes(architecture, settings, flow)
        + _inputs_bytes(architecture, settings, flow, trained=trained)
        + _weight_cast_bytes(architecture, settings, flow, trained=trained)
        + int8_input_bytes(architecture, settings)
    )


def int8_input_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes of the inputs that one block's int8 linears hold, checkpointed or not.

    bitsandbytes keeps them as attributes of the product, out of checkpointing's reach: the norms'
    outputs [n, D] in the stream's dtype, attention's [n, HA], and the MLP's product [n, F].
    Source: bitsandbytes autograd/_functions.py (MatMul8bitLt, ``ctx.tensors``).
    """
    if settings.quantization is not Quantization.INT8:
        return 0
    flow = precision(settings)
    widths = {"attention": flow.residual, "mlp": flow.residual, Role.OUTPUT.value: flow.operand}
    groups = {_input_group(linear): linear.in_features for linear in architecture.block}
    held = sum(width * widths.get(group, flow.projected) for group, width in groups.items())
    return tokens(settings) * held


def _norm_bytes(
    architecture: Architecture, settings: TrainingSettings, flow: Precision, *, trained: bool
) -> int:
    """RMSNorm computes on an fp32 copy [n, D] and keeps it; a trained scale keeps the normalised
    values too. LayerNorm is one kernel and keeps its input (in fp32 under autocast).
    """
    width = architecture.norms_per_layer * architecture.hidden_size
    if architecture.norm is Norm.LAYER:
        kept = FP32 if settings.autocast is not None else flow.residual
        return tokens(settings) * width * kept
    scaled = FP32 if architecture.norm_scales_in_fp32 else flow.residual
    kept = FP32 + (scaled if trained else 0)
    total = width * kept
    if architecture.qk_norm:
        heads = architecture.num_attention_heads + architecture.num_key_value_heads
        total += heads * architecture.head_dim * kept
    return tokens(settings) * total


def _attention_bytes(
    architecture: Architecture, settings: TrainingSettings, flow: Precision
) -> int:
    """Query, key, value, output in the operand dtype and the fp32 log-sum-exp [B, H, S].

    Eager attention keeps fp32 probabilities and their half-precision copy [B, H, S, S] instead,
    and keys and values repeated to all query heads. Where q, k and v come from one matrix, the
    value is a view of its output and keeps the parts of query and key alive too.
    Source: FlashAttention (arXiv 2205.14135); transformers ``eager_attention_forward``.
    """
    n, heads, size = tokens(settings), architecture.num_attention_heads, architecture.head_dim
    groups = architecture.num_key_value_heads
    if settings.attention is Attention.EAGER:
        scores = settings.micro_batch_size * heads * settings.sequence_length**2
        kept = scores * (FP32 + (flow.operand if flow.operand < FP32 else 0))
        return kept + n * 3 * heads * size * flow.operand
    fused = any(linear.role is Role.QKV for linear in architecture.block)
    width = 2 * heads + 2 * groups + (heads + groups if fused else 0)
    return n * width * size * flow.operand + n * heads * FP32


def _mlp_bytes(architecture: Architecture, settings: TrainingSettings, flow: Precision) -> int:
    """Gated: gate, activated gate and up, [n, F] each. Plain: the activation's input (or, for
    ReLU, its output). A mixture runs each token through ``num_experts_per_tok`` experts.
    """
    gated = any(linear.role in (Role.GATE, Role.GATE_UP) for linear in architecture.block)
    tensors = 3 if gated else 1
    if not gated and architecture.activation is Activation.GELU_TANH:
        tensors = 1
    active = max(1, architecture.num_experts_per_tok)
    return tokens(settings) * active * tensors * architecture.intermediate_size * flow.projected


def _inputs_bytes(
    architecture: Architecture, settings: TrainingSettings, flow: Precision, *, trained: bool
) -> int:
    """Inputs that linears keep: for their own weight's gradient, or for their adapter's."""
    total, seen = 0, set()
    for linear in architecture.block:
        group = _input_group(linear)
        if is_targeted(linear, settings):
            total += _adapter_input_bytes(linear, settings, flow, shared=group in seen)
        elif trained:
            total += _trained_input_bytes(linear, architecture, flow, shared=group in seen)
        seen.add(group)
    return tokens(settings) * total


def _input_group(linear: Linear) -> str:
    """Linears of one group read the same tensor."""
    if linear.role in READS_STREAM:
        return "attention"
    if linear.role in READS_MLP_INPUT:
        return "mlp"
    return linear.role.value


def _trained_input_bytes(
    linear: Linear, architecture: Architecture, flow: Precision, *, shared: bool
) -> int:
    """Bytes a token of a trained linear's input; attention's output is kept by attention already.

    Without autocast of an fp32 stream, linears of a group keep the same tensor.
    """
    if linear.role is Role.OUTPUT or (shared and not flow.casts_input):
        return 0
    active = max(1, architecture.num_experts_per_tok) if linear.count > 1 else 1
    return linear.in_features * flow.operand * active


def _adapter_input_bytes(
    linear: Linear, settings: TrainingSettings, flow: Precision, *, shared: bool
) -> int:
    """Bytes a token of what one adapter keeps.

    PEFT casts the input to the adapter's fp32, autocast casts it back: every adapter has a copy
    of its own [n, in]. Without autocast the fp32 copy itself stays, or, in an fp32 stream, the
    input that the group shares. Then: A's output [n, R]; a dropout mask of one byte an element;
    DoRA's base and adapter results [n, out] (the scale's gradient needs both); AdaLoRA's result
    [n, out] before it is divided by the rank.
    Source: peft/tuners/lora/layer.py (Linear.forward, ``_cast_input_dtype``), lora/dora.py.
    """
    no_copy = settings.autocast is None and flow.residual == FP32 and shared
    copied = FP32 if settings.autocast is None else flow.operand
    total = 0 if no_copy and not settings.lora_dropout else linear.in_features * copied
    total += settings.adapter_rank * copied
    if settings.lora_dropout:
        total += linear.in_features
    if settings.finetuning_type is FinetuningType.DORA:
        total += 2 * linear.out_features * copied
    if settings.finetuning_type is FinetuningType.ADALORA:
        total += linear.out_features * copied
    return total


def _weight_cast_bytes(
    architecture: Architecture, settings: TrainingSettings, flow: Precision, *, trained: bool
) -> int:
    """Half-precision copies of fp32 weights that the products keep for the input's gradient.

    Copies of trained weights are cached by autocast and counted by ``autocast_cache_bytes``.
    """
    if trained or not flow.casts_input or settings.quantization is not None:
        return 0
    return sum(linear.weight_count for linear in architecture.block) * flow.operand


def block_transient_bytes(
    architecture: Architecture, settings: TrainingSettings, *, trained: bool
) -> int:
    """Bytes that one block takes beyond what it kept, at its largest moment.

    With an adapter on the down projection that is its recomputation: the MLP's product [n, F], its
    fp32 cast for the adapter, and the stream, the norm's output and two results [n, D]. Without,
    it is the backward of the product: the gradients of the product and its two factors [n, F].
    Eager attention has the gradients of its scores instead, if they are larger.
    Ignores: that parts of what was kept are freed by then.
    """
    n, flow = tokens(settings), precision(settings)
    middle = architecture.intermediate_size * max(1, architecture.num_experts_per_tok)
    adapted = any(
        linear.role is Role.DOWN and is_targeted(linear, settings) for linear in architecture.block
    )
    mlp = n * middle * 3 * flow.operand
    if adapted:
        recomputed = n * middle * (flow.operand + FP32)
        mlp = max(mlp, recomputed + 4 * boundary_bytes(architecture, settings))
    scores = 0
    if settings.attention is Attention.EAGER:
        grid = settings.micro_batch_size * settings.sequence_length**2
        scores = grid * architecture.num_attention_heads * (2 * FP32 + flow.operand)
    return max(mlp, scores)


def dequantized_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes of the largest quantised matrix, de-quantised for one product."""
    if settings.quantization is None:
        return 0
    return max(linear.weight_count for linear in architecture.block) * precision(settings).operand


def dora_transient_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes that DoRA's weight norm takes for the largest adapted matrix [out, in].

    An identity [in, in] in fp32 and its cast, the adapter's product [in, out], the weight in
    fp32, and their scaled sum. Source: peft/tuners/lora/dora.py (get_weight_norm, forward).
    """
    if settings.finetuning_type is not FinetuningType.DORA:
        return 0
    operand = precision(settings).operand
    largest = 0
    for linear in architecture.block:
        if is_targeted(linear, settings):
            square = linear.in_features**2 * (FP32 + (operand if operand < FP32 else 0))
            product = linear.weight_count * (operand + 2 * FP32)
            largest = max(largest, square + product)
    return largest


def autocast_cache_bytes(trained_elements: int, settings: TrainingSettings) -> int:
    """Bytes of the half-precision copies of trained fp32 weights, cached during forward.

    Source: torch autocast caches casts of leaf weights that require a gradient.
    """
    fp32 = settings.uses_adapter or settings.model_dtype is Dtype.FP32
    return 2 * trained_elements if settings.autocast is not None and fp32 else 0
