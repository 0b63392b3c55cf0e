"""The two forms of 8-bit values."""

from __future__ import annotations

import torch

from tsplanner.training.eight_bit.forms import FP8, INT8, LARGEST


def test_the_largest_values_are_those_of_the_forms() -> None:
    """PyTorch says the same of e4m3; int8 leaves -128 out."""
    assert {FP8: torch.finfo(FP8).max, INT8: torch.iinfo(INT8).max} == LARGEST
