"""What Triton compiles: one program per row, per piece of a row, or per tile."""

import triton
import triton.language as tl

from tsplanner.training.eight_bit import forms

LARGEST_FP8 = tl.constexpr(forms.LARGEST[forms.FP8])
LARGEST_INT8 = tl.constexpr(forms.LARGEST[forms.INT8])
SMALLEST_SCALE = tl.constexpr(forms.SMALLEST_SCALE)
NO_FRACTION = tl.constexpr(1.5 * 2**23)
"""Added to an fp32 number below 2^22 it leaves no fraction: the number is rounded to even."""


@triton.jit
def quantise(
    matrix,
    columns,
    values,
    scales,
    width,
    stride,
    block: tl.constexpr,
) -> None:
    """Round one row of ``width`` numbers, times ``columns`` if given, to 8 bits with one scale."""
    row = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, block)
    inside = place < width
    found = tl.load(matrix + row * stride + place, mask=inside, other=0.0).to(tl.float32)
    if columns is not None:
        found = found * tl.load(columns + place, mask=inside, other=0.0)
    is_integer: tl.constexpr = values.dtype.element_ty == tl.int8
    largest: tl.constexpr = LARGEST_INT8 if is_integer else LARGEST_FP8
    # Divided as a CPU divides: values that lie between two are common, and go the same way.
    scale = tl.maximum(tl.div_rn(tl.max(tl.abs(found), axis=0), largest), SMALLEST_SCALE)
    found = tl.minimum(tl.maximum(found * tl.div_rn(1.0, scale), -largest), largest)
    if is_integer:
        found = (found + NO_FRACTION) - NO_FRACTION
    tl.store(values + row * width + place, found.to(values.dtype.element_ty), mask=inside)
    tl.store(scales + row, scale)


@triton.jit
def turn(values, found, rows, width, tile_rows: tl.constexpr, tile_columns: tl.constexpr) -> None:
    """Write a tile of a matrix of bytes where its columns are rows."""
    row = tl.program_id(0).to(tl.int64) * tile_rows + tl.arange(0, tile_rows)
    column = tl.program_id(1).to(tl.int64) * tile_columns + tl.arange(0, tile_columns)
    inside = (row[:, None] < rows) & (column[None, :] < width)
    tile = tl.load(values + row[:, None] * width + column[None, :], mask=inside, other=0)
    tl.store(found + column[:, None] * rows + row[None, :], tl.trans(tile), mask=tl.trans(inside))


@triton.jit
def scale(sums, left, right, found, width, stride, block: tl.constexpr) -> None:
    """Multiply a piece of a row of int32 sums by the row's scale and the columns' scales."""
    row = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1) * block + tl.arange(0, block)
    inside = place < width
    wide = tl.load(sums + row * stride + place, mask=inside, other=0).to(tl.float32)
    wide = wide * tl.load(left + row) * tl.load(right + place, mask=inside, other=0.0)
    tl.store(found + row * width + place, wide.to(found.dtype.element_ty), mask=inside)
