"""Norms as programs. Source: transformers' modeling files, torch ``layer_norm``."""

from __future__ import annotations

from memory_models.activations.fused_kernels import fused_norm, row_norm
from memory_models.activations.liger.kernels import liger_norm
from memory_models.activations.ops import FP32, Ops
from memory_models.architecture import Norm
from memory_models.symbolic import ZERO, Value, times


def norm(ops: Ops, value: Value, rows: int = 1) -> Value:
    """The model's kind of norm, as one fused kernel where there is one; ``rows`` per token."""
    if ops.liger is not None:
        return liger_norm(ops, value, rows)
    if fused_norm(ops, value):
        return row_norm(ops, value)
    return BY_KIND[ops.shape.norms.kind](ops, value)


def layer_norm(ops: Ops, value: Value) -> Value:
    """One kernel; backward keeps the input. Under autocast the kernel runs in fp32."""
    source = ops.cast(value, FP32 if ops.autocast else value.bytes)
    result = ops.tape.op((source,), source.elements, source.bytes, saves=(source,))
    ops.tape.drop(source)
    return result


def rms_norm(ops: Ops, value: Value) -> Value:
    """An fp32 copy, its square, the normalised copy, a cast to the dtype, and the weight.

    The gradient of the mean flows back through the square: beside the input's own gradient there
    are that of the square, the input to the first power, its double and their product, five fp32
    tensors [n, D] at once. Layers that are scaled in fp32 (Gemma) peak there. For all others three
    are counted, as they were when the time model's constants were fitted to these bytes.
    """
    tape, whole = ops.tape, times(value.elements, FP32)
    source = ops.cast(value, FP32)
    square = tape.op((source,), source.elements, FP32, saves=(source,))
    tape.drop(square)
    in_fp32 = ops.shape.norms.norm_scales_in_fp32 or ops.shape.norms.kind is Norm.RMS_FP32
    work = times(whole, 3 if in_fp32 else 1)
    scaled = tape.op((source,), source.elements, FP32, saves=(source,), work=work)
    tape.drop(source)
    narrow = scaled if in_fp32 else ops.cast(scaled, value.bytes)
    scale = FP32 if ops.upcast else value.bytes
    wide = narrow.bytes if in_fp32 else max(value.bytes, scale)
    work = narrow.size if ops.trained else ZERO
    result = tape.op((narrow,), narrow.elements, wide, saves=_scale_saves(ops, narrow), work=work)
    tape.drop(narrow)
    if not in_fp32:
        # The local variable of LlamaRMSNorm.forward holds the fp32 result until the norm returns.
        tape.drop(scaled)
        return result
    output = ops.cast(result, value.bytes)
    tape.drop(result)
    return output


def _scale_saves(ops: Ops, narrow: Value) -> tuple[Value, ...]:
    """What the product with the scale saves: its input for a trained scale, else the scale itself.

    The scale has its bytes among the weights. But where a layer ends in this product, a checkpoint
    runs the layer up to here and no sooner than backward comes to here.
    """
    if ops.trained:
        return (narrow,)
    ends_layer = ops.shape.norms.norms_per_layer == 4 or ops.shape.norms.norms_after
    if not ends_layer or ops.shape.norms.norm_scales_in_fp32:
        return ()
    return (ops.tape.uncounted(ZERO, narrow.bytes, needs=False),)


def layer_norm_fp32(ops: Ops, value: Value) -> Value:
    """A LayerNorm written out in fp32: the input less its mean twice, a square, a scaled copy.

    Backward keeps both differences: the square's input, and the factor of the scale. The gradient
    of each mean is spread over the row in a temporary [n, D]. Source: CohereLayerNorm.
    """
    tape, whole = ops.tape, times(value.elements, FP32)
    source = ops.cast(value, FP32)
    spread = tape.op((source,), source.elements, FP32)
    square = tape.op((spread,), source.elements, FP32, saves=(spread,), work=times(whole, 2))
    tape.drop(spread, square)
    centred = tape.op((source,), source.elements, FP32)
    tape.drop(source)
    scaled = tape.op((centred,), centred.elements, FP32, saves=(centred,), work=whole)
    tape.drop(centred)
    saves = (scaled,) if ops.trained else ()
    result = tape.op((scaled,), scaled.elements, FP32, saves=saves, work=whole)
    tape.drop(scaled)
    output = ops.cast(result, value.bytes)
    tape.drop(result)
    return output


BY_KIND = {
    Norm.RMS: rms_norm,
    Norm.RMS_FP32: rms_norm,
    Norm.LAYER: layer_norm,
    Norm.LAYER_FP32: layer_norm_fp32,
}
