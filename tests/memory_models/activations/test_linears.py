"""Linears as programs: the toy's q_proj is 8 x 8, the LoRA rank is 2."""

from __future__ import annotations

import pytest

from memory_models.activations.linears import ADAPTED, adapter_product, base_product, linear
from memory_models.settings import Dtype, FinetuningType, Quantization
from memory_models.symbolic import ZERO, Size
from tests.support.toy_programs import layer_ops, named, uncounted

QUERY = named("q_proj")


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        # the input cast to bf16 16 and A's result 4; casts of A and B, 2 bytes of 16 elements each
        ({}, Size(per_token=20, constant=64)),
        # a mask of one byte per input element
        ({"lora_dropout": 0.1}, Size(per_token=28, constant=64)),
        # both results, 16 each, which the magnitude multiplies
        ({"finetuning_type": FinetuningType.DORA}, Size(per_token=52, constant=64)),
        # rank 3: input 16 and A's result 6; casts 2 x 48, and A times the singular values in fp32,
        # 4 x 24; the divisor is a constant, so what it divides is not kept
        ({"finetuning_type": FinetuningType.ADALORA}, Size(per_token=22, constant=96 + 96)),
        # the adapter multiplies in fp32: the fp32 input 32 and A's result 8, no casts
        ({"autocast": None}, Size(per_token=40)),
    ],
    ids=["lora", "dropout", "dora", "adalora", "no autocast"],
)
def test_an_adapted_linear_keeps_its_hand_counted_bytes(
    changes: dict[str, object], kept: Size
) -> None:
    """bf16 input of 8 elements per token; the frozen base keeps nothing."""
    ops = layer_ops(**changes)
    linear(ops, QUERY, uncounted(ops, 8))
    assert ops.tape.kept() == kept


def test_a_linear_without_an_adapter_keeps_nothing_if_it_is_frozen() -> None:
    """A trained one keeps its input, which is counted elsewhere here."""
    ops = layer_ops(lora_target=("k_proj",))
    linear(ops, QUERY, uncounted(ops, 8))
    assert ops.tape.kept() == ZERO
    trained = layer_ops(trained=True, finetuning_type=FinetuningType.FULL)
    value = trained.tape.new(Size(per_token=8), 2)
    linear(trained, QUERY, value)
    assert trained.tape.kept() == Size(per_token=16)


def test_a_quantised_product_holds_the_de_quantised_matrix_for_a_moment() -> None:
    """Input cast to bf16 16 per token, matrix 64 x 2; the result is cast back to fp32."""
    ops = layer_ops(quantization=Quantization.NF4)
    result = base_product(ops, QUERY, uncounted(ops, 8, 4))
    assert Size(per_token=16, constant=128) in ops.tape.levels
    assert result.bytes == 4
    assert ops.tape.level == Size(per_token=32)


@pytest.mark.parametrize(
    ("form", "bytes"), [(None, 2), (Quantization.NF4, 4), (Quantization.FP8, 2)]
)
def test_doras_sum_stays_in_fp32_on_a_4_bit_linear(form: Quantization | None, bytes: int) -> None:
    """Under autocast PEFT casts it back on a plain linear alone; ours in 8 bits is one to it."""
    ops = layer_ops(finetuning_type=FinetuningType.DORA, quantization=form)
    assert linear(ops, QUERY, uncounted(ops, 8)).bytes == bytes


def test_a_thin_products_gradient_is_that_of_its_matrix() -> None:
    """Matrix [2, 8] in fp32: 64 bytes are left, beside the gradient of the input."""
    ops = layer_ops()
    output = adapter_product(ops, uncounted(ops, 8), 8, 2)
    ops.tape.drop(output, *ops.cached)
    ops.tape.backward(output, accumulates=False, recomputed=False)
    assert ops.tape.level == Size(per_token=16, constant=64)


def test_a_4_bit_result_is_cloned_before_the_adapter_adds_to_it() -> None:
    """NF4 makes one tensor more than int8, of the result's eight fp32 elements."""
    made = {}
    for quantization in (Quantization.INT8, Quantization.NF4):
        ops = layer_ops(quantization=quantization)
        linear(ops, QUERY, uncounted(ops, 8, 4))
        made[quantization] = ops.tape.allocations
    assert made[Quantization.NF4] == made[Quantization.INT8] + 1


def test_every_adapter_method_has_its_program() -> None:
    """A new method is one row."""
    assert set(ADAPTED) == {method for method in FinetuningType if method.uses_adapter}


@pytest.mark.parametrize("dtype", [Dtype.BF16, Dtype.FP16])
@pytest.mark.parametrize("method", ADAPTED)
def test_the_result_has_the_dtype_of_the_base(method: FinetuningType, dtype: Dtype) -> None:
    """The adapter's fp32 result is cast back."""
    ops = layer_ops(finetuning_type=method, model_dtype=dtype, autocast=dtype)
    result = linear(ops, QUERY, uncounted(ops, 8))
    assert (result.elements, result.bytes) == (Size(per_token=8), 2)
