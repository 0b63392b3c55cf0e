"""A frozen linear in 8 bits: its two products, adapters on it, and what it costs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tsplanner.training.eight_bit.arithmetic import multiply, quantise_rows
from tsplanner.training.eight_bit.forms import FP8, INT8
from tsplanner.training.eight_bit.linear import EightBitLinear, EightBitMatrix
from tsplanner.training.kernels.frozen_linear import frozen_matrix
from tsplanner.training.kernels.fused_kernels import AdaptedLinear
from tsplanner.training.multi_lora.linears import MultiLoraLinear

FORMS = pytest.mark.parametrize("form", [FP8, INT8], ids=["fp8", "int8"])
OUT, IN, ROWS = 96, 64, 40
NEAR = {FP8: 0.05, INT8: 0.02}
"""Relative distance of a product from the plain one: e4m3 rounds both operands by 2.6 % (root mean
square of 2^-4 evenly spread), int8 normal numbers by 0.8 %."""


def pair(form: torch.dtype, dtype: torch.dtype = torch.float32) -> tuple[nn.Linear, EightBitLinear]:
    """A frozen linear, and the same in 8 bits."""
    torch.manual_seed(0)
    plain = nn.Linear(IN, OUT, dtype=dtype).requires_grad_(False)
    return plain, EightBitLinear(plain, quantise_rows(plain.weight, form), dtype)


def drawn(*shape: int, seed: int = 1) -> torch.Tensor:
    """Random numbers in fp32."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def apart(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Relative distance."""
    return float((found - wanted).norm() / wanted.norm())


@FORMS
def test_result_and_gradient_are_near_those_of_the_plain_linear(form: torch.dtype) -> None:
    """[2, 20, 64] in, [2, 20, 96] out, and back."""
    plain, eight = pair(form)
    x = drawn(2, ROWS // 2, IN).requires_grad_()
    upstream = drawn(2, ROWS // 2, OUT, seed=2)
    found, wanted = eight(x), plain(x)
    assert found.shape == wanted.shape
    assert apart(found, wanted) < NEAR[form]
    (of_x,), (wanted_of_x,) = (torch.autograd.grad(each, x, upstream) for each in (found, wanted))
    assert apart(of_x, wanted_of_x) < NEAR[form]


@FORMS
def test_both_products_are_those_of_rounded_operands(form: torch.dtype) -> None:
    """Forward the rows are rounded, back the gradient times the scales of the output rows."""
    _, eight = pair(form)
    matrix, stored = EightBitMatrix(eight), eight.rows
    x, gradient = drawn(ROWS, IN), drawn(ROWS, OUT, seed=2)
    whole = stored.whole(torch.float32)
    wanted = quantise_rows(x, form).whole(torch.float32) @ whole.t()
    torch.testing.assert_close(matrix.product(x), wanted, rtol=1e-4, atol=1e-4)
    scaled = quantise_rows(gradient * stored.scale.view(-1), form).whole(torch.float32)
    wanted_back = scaled @ stored.values.float()
    torch.testing.assert_close(matrix.product_back(gradient), wanted_back, rtol=1e-4, atol=1e-4)


@FORMS
def test_rows_that_were_rounded_once_serve_several_matrices(form: torch.dtype) -> None:
    """q, k and v read the same rows."""
    _, eight = pair(form)
    matrix, x = EightBitMatrix(eight), drawn(ROWS, IN)
    assert torch.equal(matrix.product(matrix.prepared(x)), matrix.product(x))


@FORMS
def test_a_product_can_be_added(form: torch.dtype) -> None:
    """To the tensor that was given."""
    _, eight = pair(form)
    matrix, x, start = EightBitMatrix(eight), drawn(ROWS, IN), torch.ones(ROWS, OUT)
    assert matrix.product(x, into=start) is start
    torch.testing.assert_close(start, matrix.product(x) + 1)


@FORMS
def test_the_matrix_takes_one_byte_per_element_and_nothing_casts_it(form: torch.dtype) -> None:
    """96 x 64 bytes and 96 fp32 scales, also after the model is cast."""
    _, eight = pair(form, torch.bfloat16)
    eight = eight.half()
    assert eight.packed.nbytes == OUT * IN
    assert eight.packed.dtype is torch.int8
    assert {name for name, _ in eight.named_parameters()} == {"packed", "bias"}
    assert not eight.packed.requires_grad


@FORMS
def test_its_weight_is_the_matrix_that_the_values_stand_for(form: torch.dtype) -> None:
    """DoRA takes its norms from it."""
    plain, eight = pair(form, torch.bfloat16)
    assert eight.weight.dtype is torch.bfloat16
    assert eight.weight.shape == plain.weight.shape
    assert apart(eight.weight.float(), plain.weight.float()) < NEAR[form]


@FORMS
def test_the_fused_adapter_runs_on_it(form: torch.dtype) -> None:
    """The base's result plus two thin products, and the gradients of both matrices."""
    _, eight = pair(form)
    x, a, b = (drawn(*shape).requires_grad_() for shape in ((ROWS, IN), (4, IN), (OUT, 4)))
    found = AdaptedLinear.apply(x, frozen_matrix(eight), eight.bias, a, b, 0.5)
    wanted = eight(x) + 0.5 * (x @ a.t() @ b.t())
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    upstream = drawn(ROWS, OUT, seed=2)
    gradients = (torch.autograd.grad(each, (x, a, b), upstream) for each in (found, wanted))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@FORMS
def test_trials_share_it_and_no_row_meets_anothers(form: torch.dtype) -> None:
    """Each row has a scale of its own, so a trial's rows are what they are alone."""
    _, eight = pair(form)
    x = drawn(ROWS, IN)
    a, b = [drawn(4, IN, seed=3), drawn(4, IN, seed=4)], [drawn(OUT, 4), drawn(OUT, 4, seed=5)]
    scales, matrix, half = torch.ones(2, 1, 1), frozen_matrix(eight), ROWS // 2
    both = MultiLoraLinear.apply(x, None, matrix, eight.bias, scales, (0, 1), *a, *b)
    alone = AdaptedLinear.apply(x[:half], matrix, eight.bias, a[0], b[0], 1.0)
    torch.testing.assert_close(both[:half], alone, rtol=1e-4, atol=1e-4)
    loud = torch.cat([x[:half], 1000 * x[half:]])
    same = MultiLoraLinear.apply(loud, None, matrix, eight.bias, scales, (0, 1), *a, *b)
    torch.testing.assert_close(same[:half], both[:half])


@FORMS
@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
def test_pefts_own_adapters_sit_on_it(form: torch.dtype, *, dora: bool) -> None:
    """PEFT sees a linear with a weight; at the start an adapter changes nothing."""
    from peft import LoraConfig, inject_adapter_in_model

    model = nn.Sequential()
    _, eight = pair(form)
    model.add_module("body", eight)
    x = drawn(ROWS, IN)
    before = eight(x)
    config = LoraConfig(r=4, target_modules=["body"], use_dora=dora)
    layer: Any = inject_adapter_in_model(config, model).body
    torch.testing.assert_close(layer(x), before, rtol=1e-3, atol=1e-3)
    layer(x).sum().backward()
    assert layer.lora_B["default"].weight.grad.abs().sum() > 0


def test_products_are_multiplied_with_the_stored_values_themselves() -> None:
    """No second copy of the matrix: the rows are a view of the parameter."""
    _, eight = pair(FP8)
    assert eight.rows.values.data_ptr() == eight.packed.data_ptr()
    x = quantise_rows(drawn(ROWS, IN), FP8)
    assert torch.equal(EightBitMatrix(eight).product(x), multiply(x, eight.rows, torch.float32))
