"""One frozen weight, many forms: the same two products, however the matrix is stored."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tsplanner.training.kernels.frozen_linear import (
    FourBitMatrix,
    FrozenMatrix,
    PlainMatrix,
    added_product,
    frozen_matrix,
)
from tsplanner.training.kernels.fused_kernels import AdaptedLinear, is_plain_lora

OUT, IN, ROWS = 96, 128, 10


def plain(dtype: torch.dtype = torch.bfloat16) -> nn.Linear:
    """A frozen linear [96, 128]."""
    torch.manual_seed(0)
    return nn.Linear(IN, OUT, dtype=dtype).requires_grad_(False)


def four_bit(*, double: bool) -> Any:
    """The same linear, packed by bitsandbytes on the CPU."""
    bnb = pytest.importorskip("bitsandbytes")
    linear = plain()
    packed = bnb.nn.Linear4bit(
        IN,
        OUT,
        compute_dtype=torch.bfloat16,
        quant_type="nf4",
        compress_statistics=double,
    )
    packed.weight = bnb.nn.Params4bit(
        linear.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=double
    )
    packed.bias = linear.bias
    return packed.to("cpu")


def rows(width: int, seed: int = 1) -> torch.Tensor:
    """Ten rows in bf16."""
    return torch.randn(ROWS, width, generator=torch.Generator().manual_seed(seed)).bfloat16()


@pytest.mark.parametrize("form", ["plain", "nf4", "nf4-dq"])
def test_a_matrix_multiplies_forward_and_back(form: str) -> None:
    """Rows times W^T, and gradients times W, of the matrix that the form stands for."""
    linear: Any = plain() if form == "plain" else four_bit(double=form == "nf4-dq")
    matrix = frozen_matrix(linear)
    assert type(matrix) is (PlainMatrix if form == "plain" else FourBitMatrix)
    whole = stands_for(linear)
    assert matrix is not None
    assert matrix.dtype is torch.bfloat16
    torch.testing.assert_close(matrix.product(rows(IN)), rows(IN) @ whole.t())
    torch.testing.assert_close(matrix.product_back(rows(OUT)), rows(OUT) @ whole)


def stands_for(linear: Any) -> torch.Tensor:
    """The matrix [96, 128] of a linear in bf16."""
    if type(linear) is nn.Linear:
        return linear.weight
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(linear.weight.data, linear.weight.quant_state)


@pytest.mark.parametrize("form", ["plain", "nf4"])
def test_a_product_is_added_in_place(form: str) -> None:
    """The tensor that was given is the result, rounded once: within bf16 of the fp32 sum."""
    linear: Any = plain() if form == "plain" else four_bit(double=False)
    matrix = frozen_matrix(linear)
    assert matrix is not None
    start = rows(OUT, seed=2)
    wanted = start.float() + rows(IN).float() @ stands_for(linear).float().t()
    found = matrix.product(rows(IN), into=start)
    assert found is start
    torch.testing.assert_close(found, wanted.bfloat16(), rtol=2**-8, atol=2**-8)


def test_a_refilled_weight_is_seen() -> None:
    """A matrix holds the parameter, whose data may be moved or filled anew between products."""
    linear = plain()
    matrix = PlainMatrix(linear.weight)
    linear.weight.data = torch.zeros_like(linear.weight)
    assert not matrix.product(rows(IN)).any()


def test_a_linear_may_bring_a_form_of_its_own() -> None:
    """Any other module has none."""

    class Own(nn.Linear):
        def frozen_matrix(self) -> FrozenMatrix:
            return PlainMatrix(self.weight * 2)

    own = Own(IN, OUT, dtype=torch.bfloat16)
    matrix = frozen_matrix(own)
    assert matrix is not None
    torch.testing.assert_close(matrix.product(rows(IN)), rows(IN) @ (own.weight * 2).t())
    assert frozen_matrix(nn.Embedding(4, 4)) is None


def test_without_a_start_a_product_is_a_fresh_tensor() -> None:
    """[2, 3] times [3, 1] of ones is 3."""
    found = added_product(torch.ones(2, 3), torch.ones(3, 1), None)
    assert found.tolist() == [[3.0], [3.0]]


@pytest.mark.parametrize("double", [False, True], ids=["nf4", "nf4-dq"])
def test_lora_on_a_4_bit_linear_learns_what_pefts_layer_learns(double: bool) -> None:
    """One op instead of PEFT's five: results and gradients agree within bf16's rounding."""
    from peft import LoraConfig, inject_adapter_in_model

    model = nn.Sequential()
    model.add_module("body", four_bit(double=double))
    config = LoraConfig(r=4, lora_alpha=2, target_modules=["body"], init_lora_weights=False)
    layer: Any = inject_adapter_in_model(config, model).body
    assert is_plain_lora(layer)
    matrix = frozen_matrix(layer.base_layer)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    found, wanted = [], []
    for into, call in (
        (wanted, layer),
        (found, lambda x: AdaptedLinear.apply(x, matrix, layer.base_layer.bias, a, b, 0.5)),
    ):
        x = rows(IN).requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = call(x)
        into += [y, *torch.autograd.grad(y.float().square().sum(), (x, a, b))]
    for ours, theirs in zip(found, wanted, strict=True):
        apart = (ours - theirs).double().norm() / theirs.double().norm()
        assert float(apart) < 2**-7
