"""How near a merged model must be, by what is written and what was trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from memory_models.settings import Dtype, Quantization
from tests.support import tiny
from tsplanner.training.merging.records import MergeRequest, bound


@pytest.mark.parametrize(
    ("quantization", "dtype", "expected"),
    [
        (None, Dtype.FP32, 1e-3),
        (None, Dtype.BF16, 0.06),
        (Quantization.NF4, Dtype.FP16, 0.03),
        # Products in 8 bits are no part of the merged model.
        (Quantization.INT8, Dtype.FP32, 0.15),
        (Quantization.FP8, Dtype.FP32, 0.15),
    ],
)
def test_the_bound_follows_what_rounds(
    tmp_path: Path, quantization: Quantization | None, dtype: Dtype, expected: float
) -> None:
    """fp32 leaves next to nothing, half precision its rounding."""
    plan = tiny.with_hardware(tiny.plan(tmp_path), quantization=quantization)
    assert bound(MergeRequest(plan=plan, adapter="a", output="o", dtype=dtype)) == expected
