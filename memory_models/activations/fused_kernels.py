"""The fused kernels of a decoder layer as programs: norm, gated product, adapter in place.

These programs model ``tsplanner/training/kernels/fused_kernels.py``: each condition here matches a
condition there.
Ignores: one number per row that the norm keeps.
"""

from __future__ import annotations

from memory_models.activations.ops import FP32, LayerOps, Ops
from memory_models.architecture import Activation, Linear, Norm, Role
from memory_models.settings import FinetuningType
from memory_models.symbolic import Size, Value, Weight

HALF = 2
"""Bytes per element in half precision."""


def fused_norm(ops: Ops, value: Value) -> bool:
    """Whether this norm runs as one kernel: an RMSNorm whose weight has the stream's dtype."""
    weight_bytes = FP32 if ops.upcast else ops.stored
    plain = ops.shape.norms.kind is Norm.RMS and not ops.shape.norms.norm_scales_in_fp32
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


def fused_adapter(ops: LayerOps, value: Value) -> bool:
    """Whether a kernel adds the adapter in place: plain LoRA on a half-precision linear."""
    method = ops.method
    plain = method.finetuning_type in (FinetuningType.LORA, FinetuningType.RSLORA)
    plain = plain and not method.lora_dropout and ops.quantization is None
    return ops.fused and plain and ops.stored == value.bytes == HALF


def adapted_linear(ops: LayerOps, layer: Linear, value: Value) -> Value:
    """The base's product and two thin ones; backward keeps the input and the product [n, R]."""
    tape, rank, width = ops.tape, ops.method.rank_of(layer.name), value.bytes
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
        work=local[-1].size,
        weights=tuple(Weight(elements, width, ops.adapter) for elements in matrices),
    )
    tape.drop(*local)
    return result
