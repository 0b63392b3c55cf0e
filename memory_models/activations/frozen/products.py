"""The two products with a frozen matrix: which form they take, and what they hold while they run.

This models ``tsplanner/training/kernels/frozen_linear.py``, form by form.
"""

from __future__ import annotations

from memory_models.activations.ops import FP32, LayerOps
from memory_models.architecture import Linear
from memory_models.settings import Quantization
from memory_models.states.storage import NF4_BLOCK
from memory_models.symbolic import ZERO, Size
from memory_models.units import ceil_div


def multiplies(ops: LayerOps, width: int) -> bool:
    """Whether the base's linears are frozen matrices for rows of ``width`` bytes per element.

    bitsandbytes' int8 multiplies in a way of its own. 4-bit matrices are dequantised to the dtype
    of the products.
    """
    if ops.quantization is None:
        return ops.stored == width
    return ops.quantization is not Quantization.INT8 and ops.flow.operand == width


def product_work(ops: LayerOps, layer: Linear) -> Size:
    """Bytes that one product holds beside its operands and its result: a dequantised matrix.

    Scales that are quantised themselves are made whole in fp32 while the matrix is dequantised.
    Source: bitsandbytes, functional.py (dequantize_4bit).
    """
    if ops.quantization is None:
        return ZERO
    elements = layer.weight_count
    nested = ops.quantization is Quantization.NF4_DQ
    scales = FP32 * ceil_div(elements, NF4_BLOCK) if nested else 0
    return Size(constant=elements * ops.flow.operand + scales)
