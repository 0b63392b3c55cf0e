"""Dtypes of stream, operands and outputs."""

from __future__ import annotations

from memory_models.settings import (
    Dtype,
    TrainingSettings,
    from_flat,
)
from memory_models.states.precision import precision


def test_an_fp32_model_without_autocast_computes_in_fp32() -> None:
    """Operands, stream and outputs are four bytes wide and nothing is cast."""
    flow = precision(from_flat(TrainingSettings, model_dtype=Dtype.FP32, autocast=None).arithmetic)
    assert (flow.operand, flow.residual, flow.projected, flow.casts_input) == (4, 4, 4, False)
