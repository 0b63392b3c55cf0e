"""Dtypes of the residual stream, of matrix operands, and of the outputs of linears."""

from __future__ import annotations

from memory_models.frozen import frozen
from memory_models.settings import Arithmetic, Dtype
from memory_models.states.storage import BYTES


@frozen
class Precision:
    """Bytes per element of the tensors that flow through a decoder layer."""

    operand: int
    """Operands of matrix products and attention."""
    residual: int
    """The residual stream, and every checkpoint."""
    projected: int
    """Outputs of linears that read the residual stream (q, k, v, gate, up)."""
    casts_input: bool
    """Each linear makes a half-precision copy of its input (autocast of an fp32 stream)."""


def precision(arithmetic: Arithmetic) -> Precision:
    """Dtypes under the reference recipe.

    A half-precision model has a stream of its own dtype, under autocast or not. An fp32 model under
    autocast has an fp32 stream around half-precision products. A quantised base has fp32
    embeddings and norms (``prepare_model_for_kbit_training``), so its stream is fp32, and
    bitsandbytes returns a linear's output in its input's dtype.
    Under DeepSpeed all tensors have one dtype, and nothing is cast (``effective_settings``).
    Source: torch/amp/autocast_mode.py; bitsandbytes nn/modules.py (Linear4bit.forward).
    """
    base = arithmetic.base
    if arithmetic.upcasts_base:
        operand = 4 if base.autocast is None else BYTES[base.autocast]
        return Precision(operand=operand, residual=4, projected=4, casts_input=operand < 4)
    if base.model_dtype is not Dtype.FP32:
        return Precision(operand=2, residual=2, projected=2, casts_input=False)
    if base.autocast is None:
        return Precision(operand=4, residual=4, projected=4, casts_input=False)
    return Precision(operand=2, residual=4, projected=2, casts_input=True)
