"""A frozen matrix: for which rows it has a form, and what a product with it holds."""

from __future__ import annotations

import pytest

from memory_models.activations.frozen.products import multiplies, product_work
from memory_models.settings import Dtype, Quantization
from memory_models.symbolic import ZERO, Size
from tests.support.toy_programs import layer_ops, named


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


def test_a_product_with_a_4_bit_matrix_holds_it_dequantised() -> None:
    """8 x 8 elements in bf16; nested scales are one fp32 number for the one block of 64."""
    q_proj = named("q_proj")
    assert product_work(layer_ops(), q_proj) == (ZERO, ZERO)
    whole, nested = Size(constant=128), Size(constant=132)
    assert product_work(layer_ops(quantization=Quantization.NF4), q_proj) == (whole, whole)
    assert product_work(layer_ops(quantization=Quantization.NF4_DQ), q_proj) == (nested, nested)
