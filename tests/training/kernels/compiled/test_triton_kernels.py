"""Triton's kernels against their references: by its interpreter here, on a GPU in tests/gpu."""

from __future__ import annotations

import pytest

from tests.support.triton_interpreter import interpreted, needs_triton


@needs_triton
@pytest.mark.slow
def test_every_kernel_gives_what_its_reference_gives() -> None:
    """Half precision, rows and columns that fill no block, adapters on all factors or on some."""
    names = set(interpreted("tests.support.triton_comparison").split())
    assert names == {
        "gated",
        "gated_backward",
        "head_norm",
        "head_norm_backward",
        "losses",
        "cross_entropy",
        "rotary",
    }
