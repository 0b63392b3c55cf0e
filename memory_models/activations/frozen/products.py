"""The two products with a frozen matrix: which form they take, and what they hold while they run.

This models ``tsplanner/training/kernels/frozen_linear.py`` and ``tsplanner/training/eight_bit/``.
Ignores: one number per row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from memory_models.activations.ops import FP32, LayerOps
from memory_models.architecture import Linear
from memory_models.settings import Quantization
from memory_models.states.storage import NF4_BLOCK
from memory_models.states.weights import form_of
from memory_models.symbolic import ZERO, Size, Value
from memory_models.units import ceil_div

INT32 = 4


class ProductWork(NamedTuple):
    """Bytes that the two products hold beside their operands and their results."""

    forward: Size
    backward: Size


def multiplies(ops: LayerOps, layer: Linear, width: int) -> bool:
    """Whether a linear is a frozen matrix for rows of ``width`` bytes per element.

    bitsandbytes' int8 multiplies in a way of its own. 4-bit matrices are dequantised to the dtype
    of the products.
    """
    form = form_of(layer, ops.quantization)
    if form is None or form.multiplies:
        return ops.stored == width
    return form is not Quantization.INT8 and ops.flow.operand == width


def product_work(ops: LayerOps, layer: Linear) -> ProductWork:
    """What the form of a linear makes for each of its products."""
    form = form_of(layer, ops.quantization)
    if form is None:
        return ProductWork(ZERO, ZERO)
    if form.multiplies:
        return _eight_bit_work(layer, sums=INT32 if form is Quantization.W8A8 else 0)
    elements = layer.weight_count
    # Scales that are quantised themselves are made whole in fp32 while the matrix is dequantised.
    # Source: bitsandbytes, functional.py (dequantize_4bit).
    nested = form is Quantization.NF4_DQ
    scales = FP32 * ceil_div(elements, NF4_BLOCK) if nested else 0
    whole = Size(constant=elements * ops.flow.operand + scales)
    return ProductWork(whole, whole)


def operand_size(ops: LayerOps, group: Sequence[Linear]) -> Size:
    """Bytes of the rows in 8 bits, which all linears of one input read; 0: they read the rows."""
    eight = [each for each in group if is_eight_bit(ops, each)]
    return Size(per_token=eight[0].in_features) if eight else ZERO


def is_eight_bit(ops: LayerOps, layer: Linear) -> bool:
    """Whether the products of a linear are 8-bit products."""
    form = form_of(layer, ops.quantization)
    return form is not None and form.multiplies


def _eight_bit_work(layer: Linear, sums: int) -> ProductWork:
    """The rows in 8 bits, backward the transposed matrix too, and ``sums`` bytes per result."""
    return ProductWork(
        forward=Size(per_token=layer.in_features + sums * layer.out_features),
        backward=Size(
            per_token=layer.out_features + sums * layer.in_features, constant=layer.weight_count
        ),
    )


def eight_bit_product(ops: LayerOps, layer: Linear, value: Value) -> Value:
    """The product with a matrix in 8 bits; backward keeps nothing."""
    work = product_work(ops, layer)
    out = Size(per_token=layer.out_features)
    result = ops.tape.op((value,), out, value.bytes, work=work.backward)
    ops.tape.work(work.forward)
    return result
