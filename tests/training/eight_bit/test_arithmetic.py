"""Rows in 8 bits, and products of them, against the same numbers in fp32."""

from __future__ import annotations

import pytest
import torch

from tsplanner.training.eight_bit.arithmetic import Rows, multiply, quantise_rows
from tsplanner.training.eight_bit.forms import FP8, INT8, SMALLEST_SCALE

FORMS = pytest.mark.parametrize("form", [FP8, INT8], ids=["fp8", "int8"])
LARGEST_ERROR = {FP8: 2**-4, INT8: 1 / 127}
"""e4m3 has three bits after the point: half a step is 2^-4 of a number. A step of int8 is 1/127 of
the largest number of a row, and half of it is lost at most."""


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random numbers in fp32."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_int8_rows_are_whole_numbers_of_a_scale_per_row() -> None:
    """[1, -2, 0.5] has the scale 2/127 and the values 63.5, -127 and 31.75, rounded to even."""
    values, scale = quantise_rows(torch.tensor([[1.0, -2.0, 0.5]]), INT8)
    assert values.tolist() == [[64, -127, 32]]
    assert scale.tolist() == [[pytest.approx(2 / 127)]]


def test_fp8_rows_use_the_whole_range() -> None:
    """The largest number of a row becomes 448; half of it is 224, a seventh is 64."""
    values, scale = quantise_rows(torch.tensor([[7.0, 3.5, -1.0]]), FP8)
    assert values.float().tolist() == [[448.0, 224.0, -64.0]]
    assert scale.tolist() == [[7 / 448]]


@FORMS
def test_a_row_of_zeros_stays_a_row_of_zeros(form: torch.dtype) -> None:
    """Nothing is divided by zero."""
    rows = quantise_rows(torch.zeros(2, 4), form)
    assert not rows.whole(torch.float32).any()
    assert rows.scale.tolist() == [[SMALLEST_SCALE], [SMALLEST_SCALE]]


@FORMS
def test_a_rounded_matrix_is_near_the_matrix(form: torch.dtype) -> None:
    """Every number within half a step, and the largest of each row exact."""
    matrix = drawn(5, 64)
    whole = quantise_rows(matrix, form).whole(torch.float32)
    largest = matrix.abs().amax(-1, keepdim=True)
    steps = largest / 2 if form is INT8 else matrix.abs() + largest * 2**-15
    assert ((whole - matrix).abs() <= LARGEST_ERROR[form] * steps * 1.001).all()
    assert whole.abs().amax(-1).tolist() == pytest.approx(largest.flatten().tolist())


@FORMS
def test_factors_of_columns_are_part_of_what_is_rounded(form: torch.dtype) -> None:
    """As if the matrix had been multiplied before."""
    matrix, columns = drawn(3, 16), drawn(16, seed=1)
    found, wanted = quantise_rows(matrix, form, columns), quantise_rows(matrix * columns, form)
    assert torch.equal(found.values.float(), wanted.values.float())
    assert torch.equal(found.scale, wanted.scale)


@FORMS
def test_a_product_is_that_of_the_rounded_operands(form: torch.dtype) -> None:
    """[4, 32] times [6, 32]^T, each from its own values and scales, within fp32's rounding."""
    left, right = quantise_rows(drawn(4, 32), form), quantise_rows(drawn(6, 32, seed=1), form)
    wanted = left.whole(torch.float32).double() @ right.whole(torch.float32).double().t()
    found = multiply(left, right, torch.float32)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
    assert multiply(left, right, torch.bfloat16).dtype is torch.bfloat16


def test_a_product_of_whole_numbers_is_exact() -> None:
    """[127, 1] . [127, -127] with scales 2 and 0.5 is 16,002."""
    left = Rows(torch.tensor([[127, 1]], dtype=INT8), torch.tensor([[2.0]]))
    right = Rows(torch.tensor([[127, -127]], dtype=INT8), torch.tensor([[0.5]]))
    assert multiply(left, right, torch.float32).tolist() == [[16_002.0]]
