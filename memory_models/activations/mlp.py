"""The MLP of a decoder layer as a program: gated, plain, or a mixture of experts.

Sources: transformers' modeling files, integrations/moe.py.
"""

from __future__ import annotations

from memory_models.activations.frozen.compiled import whole_mlp
from memory_models.activations.fused_kernels import (
    adapted_mixture,
    adapter_sides,
    fused_experts,
    fused_product,
    gated_product,
)
from memory_models.activations.liger.kernels import has_gated_product, liger_product
from memory_models.activations.linears import linear
from memory_models.activations.ops import FP32, LayerOps
from memory_models.architecture import Activation, Linear, Role
from memory_models.states.expert_adapters import adapted_experts, expert_matrices
from memory_models.symbolic import Size, Value, Weight, times


def mlp(ops: LayerOps, normed: Value) -> Value:
    """From the normed stream to the result of the down projection."""
    if ops.shape.mlp.num_experts_per_tok:
        return _mixture(ops, normed)
    if has_gated_product(ops):
        return _liger_mlp(ops, normed)
    whole = whole_mlp(ops, normed)
    if whole is not None:
        return whole
    middle = _middle(ops, normed)
    result = linear(ops, ops.linears[Role.DOWN], middle)
    ops.tape.drop(middle)
    return result


def _liger_mlp(ops: LayerOps, normed: Value) -> Value:
    """One kernel between the products; local variables hold the halves of a joined product."""
    tape, linears = ops.tape, ops.linears
    joined = Role.GATE_UP in linears
    if joined:
        both = linear(ops, linears[Role.GATE_UP], normed)
        half = Size(per_token=both.elements.per_token // 2)
        gate, up = tape.split(both, (half, half))
        tape.drop(both)
    else:
        gate = linear(ops, linears[Role.GATE], normed)
        up = linear(ops, linears[Role.UP], normed)
    middle = liger_product(ops, gate, up)
    if not joined:
        tape.drop(gate, up)
    result = linear(ops, linears[Role.DOWN], middle)
    tape.drop(middle)
    if joined:
        tape.drop(gate, up)
    return result


def _middle(ops: LayerOps, normed: Value) -> Value:
    """The tensor that the down projection reads."""
    tape, linears = ops.tape, ops.linears
    if Role.GATE_UP in linears:
        both = linear(ops, linears[Role.GATE_UP], normed)
        half = Size(per_token=both.elements.per_token // 2)
        gate, up = tape.split(both, (half, half))
        tape.drop(both)
        return _gated(ops, _active(ops, gate), up)
    if fused_product(ops):
        gate = linear(ops, linears[Role.GATE], normed)
        return gated_product(ops, gate, linear(ops, linears[Role.UP], normed))
    if Role.GATE in linears:
        active = _active(ops, linear(ops, linears[Role.GATE], normed))
        return _gated(ops, active, linear(ops, linears[Role.UP], normed))
    return _active(ops, linear(ops, linears[Role.UP], normed))


def _gated(ops: LayerOps, active: Value, up: Value) -> Value:
    """The product of both factors; backward keeps both factors."""
    middle = ops.tape.op((active, up), up.elements, up.bytes, saves=(active, up))
    ops.tape.drop(active, up)
    return middle


def _active(ops: LayerOps, value: Value) -> Value:
    """The activation; backward keeps the input, or the result of ReLU."""
    if ops.shape.mlp.activation is Activation.GELU_NEW:
        return _gelu_new(ops, value)
    saved = None if ops.shape.mlp.activation is Activation.RELU else value
    result = ops.tape.op((value,), value.elements, value.bytes, saves=(saved,))
    ops.tape.drop(value)
    return result


def _gelu_new(ops: LayerOps, value: Value) -> Value:
    """GELU written out: half the input, times one plus the tanh of a cubic polynomial.

    Backward keeps the input, its half, the tanh and the tanh plus one. Autocast runs ``pow`` in
    fp32, so all but the half are in fp32 under it.
    Source: transformers' NewGELUActivation.
    """
    tape, size = ops.tape, value.elements
    half = tape.op((value,), size, value.bytes)
    source = ops.cast(value, FP32 if ops.autocast else value.bytes)
    width = source.bytes
    # The gradient of the cube squares the input and multiplies twice.
    cube = ops.copy(tape.op((source,), size, width, saves=(source,), work=times(source.size, 2)))
    tape.drop(source)
    summed = tape.op((value, cube), size, width, passes=True)
    tape.drop(cube)
    scaled = ops.copy(summed)
    curved = tape.op((scaled,), size, width, saves=(None,))
    tape.drop(scaled)
    factor = tape.op((curved,), size, width, passes=True)
    tape.drop(curved)
    # The gradient of the half is made in the wider dtype before it is cast. What a checkpoint made
    # again is freed by then, so that only the difference counts there.
    narrow = half.bytes if ops.settings.checkpointed else half.bytes * (width == half.bytes)
    mixed = times(size, width - narrow)
    result = tape.op((half, factor), size, width, saves=(half, factor), work=mixed)
    tape.drop(half, factor, value)
    return result


def _mixture(ops: LayerOps, normed: Value) -> Value:
    """Experts: sort rows by expert, two grouped products, weight rows, restore the order, sum."""
    if fused_experts(ops):
        return adapted_mixture(ops, normed)
    tape = ops.tape
    # Every token occurs once per expert that it runs through, so rows are pairs of the two.
    pairs, hidden = ops.shape.mlp.num_experts_per_tok, ops.shape.hidden_size
    rows = Size(per_token=pairs * hidden)
    half = Size(per_token=pairs * ops.linears[Role.DOWN].in_features)
    first, second = expert_matrices(ops.shape)
    picked = tape.op((normed,), rows, normed.bytes)
    gate_up = _whole_matrix(ops, first)
    both = _grouped(ops, picked, times(half, 2), gate_up)
    gate, up = tape.split(both, (half, half))
    tape.drop(both)
    product = _gated(ops, _active(ops, gate), up)
    down = _whole_matrix(ops, second)
    result = _grouped(ops, product, rows, down)
    tape.drop(product)
    stored = result.bytes
    weighted = tape.op((result,), rows, stored, saves=(result,), work=result.size)
    ordered = tape.op((weighted,), rows, stored)
    tape.drop(result, weighted)
    # The local variables of the experts' forward live until it returns.
    summed = tape.op((ordered,), Size(per_token=hidden), normed.bytes)
    tape.drop(ordered, picked, *(each for each in (gate_up, down) if isinstance(each, Value)))
    return summed


def _whole_matrix(ops: LayerOps, matrix: Linear) -> Weight | Value:
    """The matrices of all experts: a parameter, or PEFT's sum of the parameter and its adapter.

    PEFT casts A and B to the parameter's dtype and adds their product to the whole parameter. torch
    makes that sum once more, and drops it, when PEFT registers it (nn/utils/parametrize.py).
    Source: peft/tuners/lora/layer.py (ParamWrapper).
    """
    # Fused experts are parameters, not nn.Linear: bitsandbytes does not quantise them, and PEFT's
    # preparation casts them to fp32.
    stored = FP32 if ops.upcast else ops.stored
    if matrix not in adapted_experts(ops.shape, ops.method):
        return Weight(matrix.weight_count, stored, stored)
    sides = adapter_sides(ops, matrix)
    casts = [ops.tape.new(Size(constant=n), stored, needs=False) for n in sides]
    whole = Size(constant=matrix.weight_count)
    ops.tape.work(times(whole, stored))
    weights = tuple(Weight(elements, stored, ops.adapter) for elements in sides)
    result = ops.tape.op((), whole, stored, saves=casts, weights=weights)
    ops.tape.drop(*casts)
    return result


def _grouped(ops: LayerOps, value: Value, out: Size, matrix: Weight | Value) -> Value:
    """A product of every row with its expert, in the weight's dtype: autocast does not cast it."""
    if isinstance(matrix, Value):
        source = ops.cast(value, matrix.bytes)
        result = ops.tape.op((source, matrix), out, matrix.bytes, saves=(source, matrix))
        ops.tape.drop(source)
        return result
    source = ops.cast(value, matrix.stored)
    weights, saves = ((matrix,), (source,)) if ops.trained else ((), ())
    result = ops.tape.op((source,), out, matrix.stored, saves=saves, weights=weights)
    ops.tape.drop(source)
    return result
