"""The fused kernels of a decoder layer as programs: norm, gated product, adapters in place.

These programs model ``tsplanner/training/kernels/fused_kernels.py`` and ``experts.py`` beside it:
each condition here matches a condition there.
Ignores: one number per row that the norm keeps.
"""

from __future__ import annotations

from memory_models.activations.frozen.products import multiplies, product_work
from memory_models.activations.ops import FP32, LayerOps, Ops
from memory_models.architecture import Activation, Linear, Norm, Role
from memory_models.settings import FinetuningType
from memory_models.states.expert_adapters import adapted_experts, adapter_rows, expert_matrices
from memory_models.symbolic import Size, Value, Weight, times, total

HALF = 2
"""Bytes per element in half precision."""


def fused_norm(ops: Ops, value: Value) -> bool:
    """Whether this norm runs as one kernel: an RMSNorm whose weight has the stream's dtype."""
    weight_bytes = FP32 if ops.upcast else ops.stored
    rms = ops.shape.norms.kind in (Norm.RMS, Norm.RMS_FP32)
    plain = rms and not ops.shape.norms.norm_scales_in_fp32
    return ops.fused and plain and value.bytes == weight_bytes


def row_norm(ops: Ops, value: Value) -> Value:
    """One kernel; backward keeps the input."""
    return ops.tape.op((value,), value.elements, value.bytes, saves=(value,))


def fused_product(ops: Ops) -> bool:
    """Whether one op computes silu(gate) * up: gate and up are separate linears."""
    silu = ops.shape.mlp.activation is Activation.SILU
    return ops.fused and silu and Role.GATE in ops.linears


def gated_product(ops: Ops, gate: Value, up: Value) -> Value:
    """silu(gate) * up; backward keeps both inputs and recomputes silu and one product."""
    middle = ops.tape.op((gate, up), up.elements, up.bytes, saves=(gate, up), work=up.size)
    ops.tape.drop(gate, up)
    return middle


def fused_adapter(ops: LayerOps, layer: Linear, value: Value) -> bool:
    """Whether a kernel adds the adapter in place: plain LoRA on a frozen half-precision product."""
    method = ops.method
    plain = method.finetuning_type in (FinetuningType.LORA, FinetuningType.RSLORA)
    plain = plain and not method.lora_dropout
    return ops.fused and plain and value.bytes == HALF and multiplies(ops, layer, HALF)


def adapted_linear(ops: LayerOps, layer: Linear, value: Value) -> Value:
    """Two thin products and the base's, added in place; backward keeps the input and [n, R]."""
    tape, rank, width = ops.tape, ops.method.rank_of(layer.name), value.bytes
    work = product_work(ops, layer)
    matrices = (rank * layer.in_features, rank * layer.out_features)
    local = [
        tape.new(Size(constant=elements), width, needs=False)
        for elements in matrices
        if ops.adapter != width
    ]
    # The op casts A and B itself and saves the casts, outside autocast's cache.
    local.append(tape.new(Size(per_token=rank), width, needs=False))
    result = tape.op(
        (value,),
        Size(per_token=layer.out_features),
        width,
        saves=(value, *local),
        work=total((local[-1].size, work.backward)),
        weights=tuple(Weight(elements, width, ops.adapter) for elements in matrices),
    )
    tape.work(work.forward)
    # An op saves what it keeps when it has run, so recomputation runs all of it.
    tape.last_save = tape.allocations
    tape.drop(*local)
    return result


def fused_experts(ops: LayerOps) -> bool:
    """Whether the experts of a layer and their LoRA run as grouped products of low rank."""
    half = not ops.upcast and ops.stored == HALF
    return ops.fused and half and bool(adapted_experts(ops.shape, ops.method))


def adapter_sides(ops: LayerOps, matrix: Linear) -> tuple[int, int]:
    """Elements of A and of B of the adapters on one fused parameter."""
    rows = adapter_rows(matrix, ops.method, ops.method.adapter_rank)
    return rows * matrix.in_features, rows * matrix.out_features


def adapted_mixture(ops: LayerOps, normed: Value) -> Value:
    """One op; backward keeps its input, the first product [P, 2F] and both products with A."""
    tape, hidden = ops.tape, ops.shape.hidden_size
    pairs = ops.shape.mlp.num_experts_per_tok
    gate_up, down = expert_matrices(ops.shape)
    half = Size(per_token=pairs * down.in_features)
    rows = tape.op((normed,), Size(per_token=pairs * hidden), HALF)
    both = _low_rank(ops, gate_up, rows, saves=(normed, None))
    tape.drop(rows)
    # Backward computes the gated product again, beside the gradients of both factors.
    middle = tape.op((both,), half, HALF, work=times(half, 2 * HALF))
    made = _low_rank(ops, down, middle, saves=())
    tape.drop(middle)
    summed = tape.op((made,), Size(per_token=hidden), normed.bytes)
    # An op saves what it keeps when it has run, so recomputation runs all of it.
    tape.last_save = tape.allocations
    tape.drop(made, both)
    return summed


def _low_rank(
    ops: LayerOps, matrix: Linear, value: Value, saves: tuple[Value | None, ...]
) -> Value:
    """The products of rows with their experts' matrix, A and B; None: the result is saved."""
    tape, pairs = ops.tape, ops.shape.mlp.num_experts_per_tok
    out = Size(per_token=pairs * matrix.out_features)
    # Backward makes the gradient of the rows in two parts, then gathers the rows again.
    work = value.size
    if matrix not in adapted_experts(ops.shape, ops.method):
        return tape.op((value,), out, HALF, saves=saves)
    sides, rank = adapter_sides(ops, matrix), adapter_rows(matrix, ops.method, 1) // matrix.count
    casts = [tape.new(Size(constant=elements), HALF, needs=False) for elements in sides]
    width = Size(per_token=pairs * rank * ops.method.adapter_rank)
    low = tape.new(width, HALF, needs=False)
    result = tape.op(
        (value,),
        out,
        HALF,
        saves=(*saves, low),
        work=work,
        weights=tuple(Weight(elements, HALF, ops.adapter) for elements in sides),
    )
    tape.work(result.size)
    tape.drop(low, *casts)
    return result
