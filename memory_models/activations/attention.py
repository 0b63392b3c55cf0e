"""Self-attention as a program, by kernel.

H query heads, K key/value heads, A head size. Sources: transformers' modeling files and
integrations/sdpa_attention.py; aten/src/ATen/native/transformers/cuda/sdp_utils.cpp.
"""

from __future__ import annotations

from memory_models.activations.frozen.compiled import (
    attention_output,
    compiled_rotary,
    joined_projections,
    turns_both,
    turns_whole,
)
from memory_models.activations.liger.kernels import liger_rotary
from memory_models.activations.linears import linear
from memory_models.activations.norms import norm
from memory_models.activations.ops import FP32, LayerOps
from memory_models.architecture import AttentionShape, Role
from memory_models.settings import Attention, Dtype
from memory_models.symbolic import Size, Value, times


def plain_attention(shape: AttentionShape) -> Attention:
    """What runs without a package or a compiler: sdpa, or eager where it lacks the soft cap."""
    eager = shape.attn_logit_softcapping or shape.eager_only
    return Attention.EAGER if eager else Attention.SDPA


def attention(ops: LayerOps, normed: Value) -> Value:
    """From the normed stream to the result of the output projection."""
    tape, shape = ops.tape, ops.shape
    query, key, value = _projections(ops, normed)
    if shape.attention.qk_norm:
        query, key = _head_norm(ops, query), _head_norm(ops, key)
    if not shape.positions.learned_position_count and turns_both(ops, query):
        turned = compiled_rotary(ops, query, key)
        tape.drop(query, key)
        query, key = turned
    elif not shape.positions.learned_position_count:
        rotary = _rotary
        if turns_in_place(ops):
            rotary = liger_rotary
        elif shape.attention.rotary_in_fp32:
            rotary = _rotary_in_fp32
        elif shape.attention.rotary_dim is not None:
            rotary = _partial_rotary
        turned = rotary(ops, query), rotary(ops, key)
        tape.drop(query, key)
        query, key = turned
    kernel = {Attention.EAGER: _eager, Attention.FLEX_ATTENTION: _flex}.get(
        ops.settings.attention, _sdpa
    )
    attended = kernel(ops, query, key, value)
    tape.drop(query, key, value)
    result = attention_output(ops, attended)
    if result is None:
        result = linear(ops, ops.linears[Role.OUTPUT], attended)
    tape.drop(attended)
    return result


def _projections(ops: LayerOps, normed: Value) -> tuple[Value, Value, Value]:
    """Query, key and value: three products, or three views of one product."""
    tape, shape = ops.tape, ops.shape
    if Role.QKV in ops.linears:
        fused = linear(ops, ops.linears[Role.QKV], normed)
        heads = Size(per_token=shape.attention.num_attention_heads * shape.attention.head_dim)
        groups = Size(per_token=shape.attention.num_key_value_heads * shape.attention.head_dim)
        # The three views keep the whole product alive as long as one of them is needed.
        views = tape.view(fused, heads), tape.view(fused, groups), tape.view(fused, groups)
        tape.drop(fused)
        return views
    joined = joined_projections(ops, normed)
    if joined:
        query, key, value = joined
        return query, key, value
    query = linear(ops, ops.linears[Role.QUERY], normed)
    if shape.positions.learned_position_count:  # OPT scales the query before the key is made
        query = ops.copy(query)
    key = linear(ops, ops.linears[Role.KEY], normed)
    return query, key, linear(ops, ops.linears[Role.VALUE], normed)


def _head_norm(ops: LayerOps, value: Value) -> Value:
    heads = value.elements.per_token // ops.shape.attention.head_dim
    normed = norm(ops, value, heads)
    ops.tape.drop(value)
    return normed


def turns_in_place(ops: LayerOps) -> bool:
    """Whether queries and keys are rotated where they stand."""
    return ops.liger is not None and ops.liger.rotary


def _rotary(ops: LayerOps, value: Value) -> Value:
    """The value times the cosine, plus its rotated half times the sine."""
    tape = ops.tape
    # Cosine and sine have the stream's dtype, so a product has the wider one of both dtypes.
    wide = max(value.bytes, ops.flow.residual)
    size = value.elements
    straight = tape.op((value,), size, wide)
    # rotate_half negates one half and concatenates; the backward of that slice pads with zeros.
    negative = tape.new(Size(per_token=size.per_token // 2), value.bytes, needs=False)
    turned = tape.op((value,), size, value.bytes, work=value.size)
    tape.drop(negative)
    crossed = tape.op((turned,), size, wide)
    tape.drop(turned)
    total = ops.add(straight, crossed)
    tape.drop(straight, crossed)
    # These models concatenate the rotated and the untouched part, even an empty one.
    return ops.copy(total) if Role.QKV in ops.linears else total


def _partial_rotary(ops: LayerOps, value: Value) -> Value:
    """A part of each head rotated, then both parts joined; backward pads each part with zeros."""
    tape, shape = ops.tape, ops.shape.attention
    part = value.elements.per_token * (shape.rotary_dim or shape.head_dim) // shape.head_dim
    size = value.elements
    turning = tape.view(value, Size(per_token=part))
    rest = tape.view(value, Size(per_token=size.per_token - part))
    turned = _rotary(ops, turning)
    joined = tape.op((turned, rest), size, turned.bytes, passes=True)
    tape.drop(turning, rest, turned)
    return joined


def _joins_heads(ops: LayerOps) -> bool:
    """Whether rotated queries and keys are joined of parts, and so laid out head by head."""
    joins = ops.shape.attention.rotary_dim is not None or Role.QKV in ops.linears
    return joins and not turns_in_place(ops) and not turns_whole(ops)


def _rotary_in_fp32(ops: LayerOps, value: Value) -> Value:
    """The rotation of an fp32 copy, cast back."""
    wide = ops.cast(value, FP32)
    turned = _rotary(ops, wide)
    ops.tape.drop(wide)
    narrow = ops.cast(turned, value.bytes)
    ops.tape.drop(turned)
    return narrow


def _sdpa(ops: LayerOps, query: Value, key: Value, value: Value) -> Value:
    """The kernel that CUDA selects for scaled dot-product attention.

    Flash attention supports neither masks nor fp32. Memory-efficient attention supports no grouped
    heads, so transformers repeats keys and values where there is a mask.
    """
    tape, operand = ops.tape, ops.flow.operand
    narrow = [ops.cast(item, operand) for item in (query, key, value)]
    grouped = key.elements != query.elements
    if ops.masked and grouped:
        repeated = [tape.op((item,), query.elements, operand) for item in narrow[1:]]
        tape.drop(*narrow[1:])
        narrow[1:] = repeated
    # Grouped heads in fp32 leave no fused kernel: flash lacks fp32, memory-efficient the groups.
    plain = operand == FP32 and grouped and not ops.masked
    result = (_math if plain else _fused)(ops, *narrow)
    tape.drop(*narrow)
    return result


def _fused(ops: LayerOps, query: Value, key: Value, value: Value) -> Value:
    """Flash or memory-efficient attention: backward keeps the result and the fp32 log-sum-exp.

    Backward accumulates the query's gradient in fp32 and makes gradients of grouped keys and values
    for every query head. A mask is kept too. Source: FlashAttention (arXiv 2205.14135).
    """
    tape, operand = ops.tape, ops.flow.operand
    heads, size = ops.shape.attention.num_attention_heads, ops.shape.attention.head_dim
    beside = [tape.new(Size(per_token=heads), FP32, needs=False)]
    if ops.masked:
        beside.append(tape.new(Size(per_unit=1), operand, needs=False))
    # Backward kernels write one gradient per query head; summing them over a group comes after.
    expanded = 2 * heads * size * operand if key.elements != query.elements else 0
    sides = (query, key, value)
    result = tape.op(
        sides,
        query.elements,
        operand,
        saves=(*sides, *beside, None),
        work=Size(per_token=heads * FP32 + heads * size * FP32 + expanded),
    )
    tape.drop(*beside)
    # Flash returns the layout of the query. Partial rotary built the query head by head, so the
    # reshape before the output projection has to copy.
    return ops.copy(result) if _joins_heads(ops) and not ops.masked else result


def _flex(ops: LayerOps, query: Value, key: Value, value: Value) -> Value:
    """flex_attention, compiled: grouped heads and windows as they are, and no mask.

    Backward keeps what flash attention keeps, and makes row sums in fp32 and gradients of as many
    heads as there are. The result has the layout of the query: where that was built head by head,
    the result is copied, and so is its gradient. Source: PyTorch's
    torch/_inductor/kernel/flex/flex_attention.py; peaks of one layer on an H200
    (`kernel_times_h200_2026-11-30.json`).
    """
    tape, operand = ops.tape, ops.flow.operand
    heads, size = ops.shape.attention.num_attention_heads, ops.shape.attention.head_dim
    copied = heads * size * operand if _joins_heads(ops) else 0
    sides = [ops.cast(item, operand) for item in (query, key, value)]
    sums = tape.new(Size(per_token=heads), FP32, needs=False)
    result = tape.op(
        sides,
        query.elements,
        operand,
        saves=(*sides, sums, None),
        work=Size(per_token=heads * FP32 + copied),
    )
    tape.drop(*sides, sums)
    return ops.copy(result) if _joins_heads(ops) else result


def _math(ops: LayerOps, query: Value, key: Value, value: Value) -> Value:
    """Unfused products in fp32: scaled query, repeated and scaled key, softmax of the scores."""
    tape = ops.tape
    width, scores = query.elements, Size(per_unit=ops.shape.attention.num_attention_heads)
    scaled = tape.op((query,), width, FP32)
    repeated = [tape.op((item,), width, FP32) for item in (key, value)]
    turned = tape.op((repeated[0],), width, FP32)
    raw = tape.op((scaled, turned), scores, FP32, saves=(scaled, turned))
    probabilities = tape.op((raw,), scores, FP32, saves=(None,), work=times(scores, FP32))
    tape.drop(raw)
    mixed = tape.op((probabilities, repeated[1]), width, FP32, saves=(probabilities, repeated[1]))
    tape.drop(scaled, turned, probabilities, *repeated)
    return ops.copy(mixed)


def _eager(ops: LayerOps, query: Value, key: Value, value: Value) -> Value:
    """Keys and values repeated for every query head, both products, and the softmax."""
    tape, operand = ops.tape, ops.flow.operand
    width = query.elements
    repeated = []
    for item in (key, value):
        grows = item.elements != width
        repeated.append(tape.op((item,), width, item.bytes) if grows else tape.view(item))
    sides = [ops.cast(item, operand) for item in (query, *repeated)]
    tape.drop(*repeated)
    weights = _scores(ops, sides[0], sides[1], query.bytes)
    mixed = tape.op((weights, sides[2]), width, operand, saves=(weights, sides[2]))
    tape.drop(weights, *sides)
    return ops.copy(mixed)


def _scores(ops: LayerOps, query: Value, key: Value, given: int) -> Value:
    """Scores [B, H, S, S]: product, scale, mask, fp32 softmax, cast to ``given`` bytes."""
    tape, operand = ops.tape, ops.flow.operand
    scores = Size(per_unit=ops.shape.attention.num_attention_heads)
    raw = tape.op((query, key), scores, operand, saves=(query, key))
    scaled = ops.copy(raw)
    if ops.shape.attention.attn_logit_softcapping:
        ratio = ops.copy(scaled)
        curved = tape.op((ratio,), scores, operand, saves=(None,))
        tape.drop(ratio)
        scaled = ops.copy(curved)
    # The mask has the stream's dtype, so the sum has the wider one of both dtypes.
    masked = tape.op((scaled,), scores, max(operand, ops.flow.residual), passes=True)
    tape.drop(scaled)
    # softmax(dtype=fp32) reads fp16 scores directly and copies bf16 scores to fp32 first (aten
    # SoftMax.cpp). Its backward on CUDA allocates gradient x result before the input's gradient.
    fp16 = Dtype.FP16 in (ops.arithmetic.base.autocast, ops.arithmetic.base.model_dtype)
    wide = tape.view(masked) if fp16 else ops.cast(masked, FP32)
    probabilities = tape.op((wide,), scores, FP32, saves=(None,), work=times(scores, FP32))
    narrow = ops.cast(probabilities, given)
    tape.drop(masked, wide, probabilities)
    weights = ops.cast(narrow, operand)
    tape.drop(narrow)
    return weights
