"""Bytes an element, and the storage of 4-bit weights."""

from __future__ import annotations

from memory_models.settings import Dtype
from memory_models.units import ceil_div

BYTES = {Dtype.FP32: 4, Dtype.BF16: 2, Dtype.FP16: 2}

NF4_BLOCK = 64
"""Weights that share one scale. Source: bitsandbytes ``blocksize`` default."""
NF4_NESTED_BLOCK = 256
"""Scales that share one second-level scale under double quantisation."""
NF4_CODE_BYTES = 2 * 512
"""The 16-entry code book and the (double-quantisation) 256-entry one, as the allocator rounds."""


def nf4_bytes(elements: int, *, double: bool) -> int:
    """Bytes of ``elements`` weights in NF4: half a byte each, and a scale a block.

    Plain: an fp32 scale a block. Double: an 8-bit scale a block, and an fp32 one for each 256.
    Source: QLoRA (arXiv 2305.14314), section 3; bitsandbytes, functional.py (QuantState).
    """
    blocks = ceil_div(elements, NF4_BLOCK)
    if not double:
        return ceil_div(elements, 2) + 4 * blocks + NF4_CODE_BYTES // 2
    return ceil_div(elements, 2) + blocks + 4 * ceil_div(blocks, NF4_NESTED_BLOCK) + NF4_CODE_BYTES
