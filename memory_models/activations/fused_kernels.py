"""The lean pieces of a block as programs: norm, gated product, adapter in place.

They stand for ``tsplanner/training/kernels/fused_kernels.py``, piece by piece and condition by
condition.
Ignores: one number a row that the norm keeps.
"""

from __future__ import annotations

from memory_models.activations.ops import FP32, Ops
from memory_models.activations.tape import Value, Weight
from memory_models.architecture import Activation, Linear, Norm, Role
from memory_models.settings import FinetuningType, Kernels

HALF = 2


def lean_norm(ops: Ops, value: Value) -> bool:
    """Whether this norm runs as one kernel: RMSNorm whose weight has the stream's dtype."""
    weight_bytes = FP32 if ops.upcast else ops.stored
    plain = ops.shape.norm is Norm.RMS and not ops.shape.norm_scales_in_fp32
    return ops.settings.kernels is Kernels.LEAN and plain and value.bytes == weight_bytes


def row_norm(ops: Ops, value: Value) -> Value:
    """One kernel, which keeps its input."""
    return ops.tape.op((value,), value.elements, value.bytes, saves=(value,))


def lean_product(ops: Ops) -> bool:
    """Whether gate and up are joined by one op: silu, and a linear each."""
    silu = ops.shape.activation is Activation.SILU
    return ops.settings.kernels is Kernels.LEAN and silu and Role.GATE in ops.linears


def gated_product(ops: Ops, gate: Value, up: Value) -> Value:
    """silu(gate) * up keeps both; backward makes silu again and one product beside."""
    middle = ops.tape.op((gate, up), up.elements, up.bytes, saves=(gate, up), work=up.size)
    ops.tape.drop(gate, up)
    return middle


def lean_adapter(ops: Ops, value: Value) -> bool:
    """Whether an adapter is added in place: plain LoRA on a half-precision linear."""
    settings = ops.settings
    plain = settings.finetuning_type in (FinetuningType.LORA, FinetuningType.RSLORA)
    plain = plain and not settings.lora_dropout and settings.quantization is None
    return settings.kernels is Kernels.LEAN and plain and ops.stored == value.bytes == HALF


def adapted_linear(ops: Ops, layer: Linear, value: Value) -> Value:
    """One product with the base and two thin ones; keeps its input and the thin one between."""
    tape, rank, width = ops.tape, ops.settings.adapter_rank, value.bytes
    matrices = (rank * layer.in_features, rank * layer.out_features)
    local = [
        tape.new((0, elements, 0), width, needs=False)
        for elements in matrices
        if ops.adapter != width
    ]
    local.append(tape.new((rank, 0, 0), width, needs=False))
    result = tape.op(
        (value,),
        (layer.out_features, 0, 0),
        width,
        saves=(value, *local),
        work=local[-1].size,
        weights=tuple(Weight(elements, width, ops.adapter) for elements in matrices),
    )
    tape.drop(*local)
    return result
