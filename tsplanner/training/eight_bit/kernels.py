"""The passes around an 8-bit product as Triton kernels: one read and one write each.

Without Triton, or a C compiler for its launchers, ``arithmetic.py`` does the same in plain PyTorch.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from tsplanner.install import compiles_triton

TILE_ROWS, TILE_COLUMNS = 64, 128
"""Rows and columns of the values that one program turns."""
COLUMNS = 1024
"""Columns of the sums that one program scales."""


@lru_cache(maxsize=1)
def available() -> bool:
    """Whether Triton can compile here."""
    return compiles_triton()


def quantise_rows(
    matrix: Tensor, form: torch.dtype, columns: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Values [N, K] and scales [N, 1] of a matrix; one program per row, which it reads once."""
    if matrix.stride(-1) != 1:
        matrix = matrix.contiguous()
    rows, width = matrix.shape
    values = torch.empty(rows, width, dtype=form, device=matrix.device)
    scale = torch.empty(rows, 1, dtype=torch.float32, device=matrix.device)
    block = 1 << (width - 1).bit_length()
    warps = max(4, min(8, block // 2048))  # the fastest on an H200, from 4,096 to 13,824 columns
    if rows:
        program = _programs().quantise[(rows,)]
        program(
            matrix, columns, values, scale, width, matrix.stride(0), block=block, num_warps=warps
        )
    return values, scale


def turned(values: Tensor) -> Tensor:
    """The values [M, N] of a matrix [N, M]; PyTorch's own copy takes nine times as long."""
    rows, width = values.shape
    found = torch.empty(width, rows, dtype=torch.int8, device=values.device)
    program = _programs().turn[(-(-rows // TILE_ROWS), -(-width // TILE_COLUMNS))]
    bits = values.view(torch.int8)
    program(bits, found, rows, width, tile_rows=TILE_ROWS, tile_columns=TILE_COLUMNS, num_warps=8)
    return found.view(values.dtype)


def scaled(sums: Tensor, left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    """Sums [N, M] times the scales of rows [N, 1] and of columns [M, 1], in ``dtype``."""
    rows, width = sums.shape
    found = torch.empty(rows, width, dtype=dtype, device=sums.device)
    program = _programs().scale[(rows, -(-width // COLUMNS))]
    program(sums, left, right, found, width, sums.stride(0), block=COLUMNS)
    return found


def _programs() -> Any:
    """The kernels; their module imports Triton."""
    return import_module("tsplanner.training.eight_bit.triton_programs")
