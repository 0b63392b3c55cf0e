"""Norms as programs. Source: transformers' modeling files, torch ``layer_norm``."""

from __future__ import annotations

from memory_models.activations.fused_kernels import fused_norm, row_norm
from memory_models.activations.ops import FP32, Ops
from memory_models.architecture import Norm
from memory_models.symbolic import ZERO, Value, times


def norm(ops: Ops, value: Value) -> Value:
    """The model's kind of norm, as one fused kernel where there is one."""
    if fused_norm(ops, value):
        return row_norm(ops, value)
    return layer_norm(ops, value) if ops.shape.norms.kind is Norm.LAYER else rms_norm(ops, value)


def layer_norm(ops: Ops, value: Value) -> Value:
    """One kernel; backward keeps the input. Under autocast the kernel runs in fp32."""
    source = ops.cast(value, FP32 if ops.autocast else value.bytes)
    result = ops.tape.op((source,), source.elements, source.bytes, saves=(source,))
    ops.tape.drop(source)
    return result


def rms_norm(ops: Ops, value: Value) -> Value:
    """An fp32 copy, its square, the normalised copy, a cast to the dtype, and the weight.

    The gradient of the mean flows back through the square: two fp32 temporaries [n, D].
    """
    tape, whole = ops.tape, times(value.elements, FP32)
    source = ops.cast(value, FP32)
    square = tape.op((source,), source.elements, FP32, saves=(source,), work=times(whole, 2))
    tape.drop(square)
    scaled = tape.op((source,), source.elements, FP32, saves=(source,), work=whole)
    tape.drop(source)
    in_fp32 = ops.shape.norms.norm_scales_in_fp32
    narrow = scaled if in_fp32 else ops.cast(scaled, value.bytes)
    scale = FP32 if ops.upcast else value.bytes
    wide = narrow.bytes if in_fp32 else max(value.bytes, scale)
    saves = (narrow,) if ops.trained else ()
    work = narrow.size if ops.trained else ZERO
    result = tape.op((narrow,), narrow.elements, wide, saves=saves, work=work)
    tape.drop(narrow)
    if not in_fp32:
        # The local variable of LlamaRMSNorm.forward holds the fp32 result until the norm returns.
        tape.drop(scaled)
        return result
    output = ops.cast(result, value.bytes)
    tape.drop(result)
    return output
