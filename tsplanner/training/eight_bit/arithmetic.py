"""Rows in 8 bits, and the product of two matrices whose rows are in 8 bits.

A matrix [N, K] is rounded row by row: values in e4m3 or int8, and one fp32 scale per row, by which
the largest value of the row becomes the largest one of the form. The product of two such matrices
sums the products of 8-bit values in fp32 or int32 and multiplies by both scales.
Source: FP8 formats for deep learning (arXiv 2209.05433); int8 as in LLM.int8 (arXiv 2208.07339),
without its outlier columns.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tsplanner.training.eight_bit import kernels
from tsplanner.training.eight_bit.forms import FEWEST_ROWS, FP8, INT8, LARGEST, SMALLEST_SCALE


class Rows(NamedTuple):
    """A matrix that is rounded row by row."""

    values: Tensor
    """[N, K] in e4m3 or int8."""
    scale: Tensor
    """[N, 1] in fp32: the matrix is about ``values * scale``."""

    def whole(self, dtype: torch.dtype) -> Tensor:
        """The matrix [N, K] in a dtype that holds every value of the form."""
        return self.values.to(dtype).mul_(self.scale)


def quantise_rows(matrix: Tensor, form: torch.dtype, columns: Tensor | None = None) -> Rows:
    """Round a matrix [N, K] row by row; ``columns`` [K] are factors of its columns.

    On a GPU with Triton this is one kernel, which allocates the values and the scales alone.
    """
    if _fuses(matrix):
        return Rows(*kernels.quantise_rows(matrix, form, columns))
    wide = matrix.float() if columns is None else matrix.float() * columns
    largest = LARGEST[form]
    scale = wide.abs().amax(-1, keepdim=True).div_(largest).clamp_(min=SMALLEST_SCALE)
    wide = wide * scale.reciprocal()
    values = (wide.round_() if form is INT8 else wide).clamp_(-largest, largest).to(form)
    return Rows(values, scale)


def multiply(left: Rows, right: Rows, dtype: torch.dtype) -> Tensor:
    """The product left right^T [N, M] of [N, K] and [M, K] in ``dtype``.

    On a GPU an 8-bit product of the tensor cores; elsewhere a product of the same 8-bit values in
    fp32, which holds each product of two values exactly. Hopper's tensor cores keep fewer bits of
    a running sum of fp8 products unless they move it to fp32 again and again. They do not here:
    that is faster, and what it adds to the rounding of the values shows in no loss
    (docs/decisions/0027).
    """
    if left.values.device.type != "cuda":
        sums = left.values.float() @ right.values.float().t()
        return sums.mul_(left.scale).mul_(right.scale.t()).to(dtype)
    rows = len(left.values)
    left = _filled(left)
    if left.values.dtype is FP8:
        found = torch._scaled_mm(
            left.values,
            right.values.t(),
            scale_a=left.scale,
            scale_b=right.scale.t(),
            out_dtype=dtype,
            use_fast_accum=True,
        )
    else:
        sums = torch._int_mm(left.values, right.values.t())
        found = _scaled(sums, left.scale, right.scale, dtype)
    return found[:rows] if len(found) > rows else found


def turned(values: Tensor) -> Tensor:
    """8-bit values [M, N] of a matrix [N, M], each row in one piece."""
    return kernels.turned(values) if _fuses(values) else values.t().contiguous()


def _scaled(sums: Tensor, left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    """Sums [N, M] in int32 times the scales of rows [N, 1] and columns [M, 1]."""
    if _fuses(sums):
        return kernels.scaled(sums, left, right, dtype)
    return sums.float().mul_(left).mul_(right.t()).to(dtype)


def _fuses(tensor: Tensor) -> bool:
    return tensor.device.type == "cuda" and kernels.available()


def _filled(rows: Rows) -> Rows:
    """At least ``FEWEST_ROWS`` rows: rows of zeros follow."""
    missing = FEWEST_ROWS - len(rows.values)
    if missing <= 0:
        return rows
    below = (0, 0, 0, missing)
    # torch pads no fp8, but bytes.
    values = torch.nn.functional.pad(rows.values.view(INT8), below).view(rows.values.dtype)
    return Rows(values, torch.nn.functional.pad(rows.scale, below))
