"""Bytes per element, and the storage of 4-bit weights."""

from __future__ import annotations

from memory_models.settings import Dtype
from memory_models.units import ceil_div

BYTES = {Dtype.FP32: 4, Dtype.BF16: 2, Dtype.FP16: 2}

NF4_BLOCK = 64
"""Weights that share one scale. Source: bitsandbytes ``blocksize`` default."""
NF4_NESTED_BLOCK = 256
"""Scales that share one second-level scale under double quantisation."""
NF4_CODE_BYTES = 2 * 512
"""The code books of 16 entries and (double quantisation) 256 entries, one 512-byte block each."""


def nf4_bytes(elements: int, *, double: bool) -> int:
    """Bytes of ``elements`` weights in NF4: half a byte per weight, and one scale per block.

    A plain scale is fp32. A double-quantised scale has 8 bits, and 256 of them share an fp32 one.
    Source: QLoRA (arXiv 2305.14314), section 3; bitsandbytes, functional.py (QuantState).
    """
    blocks = ceil_div(elements, NF4_BLOCK)
    if not double:
        return ceil_div(elements, 2) + 4 * blocks + NF4_CODE_BYTES // 2
    return ceil_div(elements, 2) + blocks + 4 * ceil_div(blocks, NF4_NESTED_BLOCK) + NF4_CODE_BYTES
