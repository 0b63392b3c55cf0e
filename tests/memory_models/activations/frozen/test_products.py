"""A frozen matrix: for which rows it has a form, and what a product with it holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.activations.frozen.products import (
    eight_bit_product,
    is_eight_bit,
    multiplies,
    operand_size,
    product_work,
)
from memory_models.settings import Dtype, Quantization
from memory_models.symbolic import ZERO, Size
from tests.support.toy_programs import layer_ops, named, uncounted


@pytest.mark.parametrize(
    ("changes", "width", "has"),
    [
        ({}, 2, True),
        ({}, 4, False),
        ({"model_dtype": Dtype.FP32}, 4, True),
        ({"quantization": Quantization.NF4}, 2, True),
        ({"quantization": Quantization.NF4, "autocast": None, "model_dtype": Dtype.FP32}, 2, False),
        ({"quantization": Quantization.INT8}, 2, False),
    ],
)
def test_a_matrix_multiplies_rows_of_its_own_dtype(
    changes: dict[str, object], width: int, has: bool
) -> None:
    """A 4-bit one is dequantised to the dtype of the products; LLM.int8 is bitsandbytes' own."""
    assert multiplies(layer_ops(**changes), named("q_proj"), width) is has


@pytest.mark.parametrize(
    ("form", "sums"), [(Quantization.FP8, 0), (Quantization.W8A8, 4)], ids=["fp8", "w8a8"]
)
def test_an_8_bit_product_holds_its_rows_and_backward_the_transposed_matrix(
    form: Quantization, sums: int
) -> None:
    """A 32 x 16 matrix: 16 bytes per token forward; 32 and 512 backward; int8 sums in int32."""
    matrix = replace(named("q_proj"), in_features=16, out_features=32)
    ops = layer_ops(quantization=form)
    assert product_work(ops, matrix) == (
        Size(per_token=16 + sums * 32),
        Size(per_token=32 + sums * 16, constant=512),
    )
    assert multiplies(ops, matrix, 2)
    assert is_eight_bit(ops, matrix)
    assert operand_size(ops, [matrix]) == Size(per_token=16)


def test_without_an_adapter_an_8_bit_linear_keeps_nothing() -> None:
    """Its result has the dtype of the rows: 32 elements of two bytes per token."""
    matrix = replace(named("q_proj"), in_features=16, out_features=32)
    ops = layer_ops(quantization=Quantization.FP8)
    result = eight_bit_product(ops, matrix, uncounted(ops, 16))
    assert result.size == Size(per_token=64)
    assert ops.tape.kept() == ZERO


def test_a_product_with_a_4_bit_matrix_holds_it_dequantised() -> None:
    """8 x 8 elements in bf16; nested scales are one fp32 number for the one block of 64."""
    q_proj = named("q_proj")
    assert product_work(layer_ops(), q_proj) == (ZERO, ZERO)
    whole, nested = Size(constant=128), Size(constant=132)
    assert product_work(layer_ops(quantization=Quantization.NF4), q_proj) == (whole, whole)
    assert product_work(layer_ops(quantization=Quantization.NF4_DQ), q_proj) == (nested, nested)
