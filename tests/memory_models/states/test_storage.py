"""Bytes per element, and the storage of 4-bit weights."""

from __future__ import annotations

import pytest

from memory_models.settings import Dtype
from memory_models.states.storage import BYTES, nf4_bytes


def test_elements_have_the_size_of_their_dtype() -> None:
    """fp32 takes four bytes, half precision two."""
    assert BYTES == {Dtype.FP32: 4, Dtype.BF16: 2, Dtype.FP16: 2}


def test_nf4_takes_0_5625_bytes_a_weight() -> None:
    """Half a byte and an fp32 scale for 64 weights: 0.5 + 4/64.

    1,638,400 weights = 25,600 blocks: 819,200 + 102,400 = 921,600, and a 512-byte code book.
    """
    assert nf4_bytes(1_638_400, double=False) == 921_600 + 512
    assert (nf4_bytes(2 * 1_638_400, double=False) - 922_112) / 1_638_400 == 0.5625


def test_nf4_with_double_quantisation_takes_about_0_51587_bytes_a_weight() -> None:
    """Half a byte, a one-byte scale for 64, an fp32 one for 64 x 256: 0.5 + 1/64 + 4/16384.

    1,638,400 weights: 819,200 + 25,600 + 4 x 100 = 845,200, and two 512-byte code books.
    """
    assert nf4_bytes(1_638_400, double=True) == 845_200 + 1024
    slope = (nf4_bytes(2 * 1_638_400, double=True) - 846_224) / 1_638_400
    assert slope == pytest.approx(0.51587, abs=5e-6)


def test_nf4_rounds_a_part_block_up() -> None:
    """65 weights need 33 bytes and two scales: 33 + 8, and the code book."""
    assert nf4_bytes(65, double=False) == 41 + 512
