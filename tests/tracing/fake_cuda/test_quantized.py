"""Stand-ins for bitsandbytes: bytes of their storage, shapes of their products."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from memory_models.settings import Dtype, Quantization, TrainingSettings, from_flat
from tsplanner.tracing.fake_cuda.quantized import (
    EightBitLinear,
    FourBitLinear,
    QuantisedLinear,
    follow_bitsandbytes,
    quantise,
)
from tsplanner.tracing.fake_cuda.shapes import drop_values, without_values


class Model(nn.Module):
    """Two linears on ``meta``, the second of which is the head."""

    def __init__(self) -> None:
        super().__init__()
        with torch.device("meta"):
            self.body = nn.Linear(128, 64, dtype=torch.bfloat16)
            self.head = nn.Linear(64, 10, dtype=torch.bfloat16)

    def get_output_embeddings(self) -> nn.Linear:
        """The head, which stays as it is."""
        return self.head


def quantised(kind: Quantization) -> Any:
    """The model with its body quantised."""
    model = Model()
    quantise(
        model,
        from_flat(TrainingSettings, quantization=kind, autocast=Dtype.BF16),
    )
    return model


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # 8192 elements: a byte each, and an fp32 scale per row of 64
        (Quantization.INT8, 8192 + 64 * 4),
        # half a byte each, an fp32 scale per 64 elements, a table of 16 fp32 values
        (Quantization.NF4, 4096 + 128 * 4 + 16 * 4),
        # scales of one byte, one fp32 scale for up to 256 of them, their table and offset
        (Quantization.NF4_DQ, 4096 + 128 + 1 * 4 + 16 * 4 + 256 * 4 + 4),
    ],
)
def test_a_quantised_linear_has_the_bytes_of_bitsandbytes(
    kind: Quantization, expected: int
) -> None:
    """The head is left alone, and the matrix's own size is remembered."""
    model = quantised(kind)
    body = model.body
    assert isinstance(body, QuantisedLinear)
    assert type(model.head) is nn.Linear
    assert body.weight.nbytes + sum(buffer.nbytes for buffer in body.buffers()) == expected
    assert body.elements == 8192
    assert not body.weight.requires_grad


@pytest.mark.parametrize("kind", [each for each in Quantization if not each.multiplies])
def test_a_quantised_product_has_the_shape_and_gradient_of_a_plain_one(kind: Quantization) -> None:
    """[2, 3, 128] gives [2, 3, 64] in its own dtype."""
    model = quantised(kind)
    assert isinstance(model.body, EightBitLinear if kind is Quantization.INT8 else FourBitLinear)
    drop_values(model)
    x = without_values(torch.zeros(2, 3, 128, dtype=torch.bfloat16)).requires_grad_(True)
    out = model.body(x)
    assert (out.shape, out.dtype) == ((2, 3, 64), torch.bfloat16)
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape


def test_an_adapter_reads_a_quantised_linears_input_uncast_under_autocast_only() -> None:
    """As PEFT's own layer for bitsandbytes does."""
    adapter = nn.Module()
    adapter.base_layer = quantised(Quantization.NF4).body
    follow_bitsandbytes(nn.Sequential(adapter))
    assert adapter.base_layer.adapted
    x = torch.zeros(2, dtype=torch.bfloat16)
    cast: Any = SimpleNamespace(call=adapter._cast_input_dtype).call
    assert cast(x, torch.float32).dtype is torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert cast(x, torch.float32) is x
