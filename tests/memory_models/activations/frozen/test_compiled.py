"""The compiled kernels of a layer: when they run, and what they keep, on the toy decoder."""

from __future__ import annotations

from typing import Any

import pytest

from memory_models.activations.frozen.compiled import (
    attention_output,
    compiled_rotary,
    joined_projections,
    turns_both,
    whole_mlp,
)
from memory_models.settings import DecoderKernels, Dtype, FinetuningType, Quantization, changed
from memory_models.symbolic import Size
from tests.support.toy_decoder import TOY
from tests.support.toy_programs import layer_ops, uncounted

COMPILED = {"decoder_kernels": DecoderKernels.COMPILED}


@pytest.mark.parametrize(
    ("changes", "runs"),
    [
        ({}, True),
        ({"finetuning_type": FinetuningType.RSLORA}, True),
        ({"finetuning_type": FinetuningType.DORA}, False),
        ({"lora_dropout": 0.1}, False),
        ({"quantization": Quantization.NF4, "upcast_unquantized": False}, True),
        ({"quantization": Quantization.FP8}, True),
        ({"quantization": Quantization.INT8}, False),
        ({"model_dtype": Dtype.FP32}, False),
        ({"decoder_kernels": DecoderKernels.FUSED}, False),
    ],
)
def test_an_mlp_is_one_function_if_its_adapters_are_plain_lora_on_frozen_products(
    changes: dict[str, Any], runs: bool
) -> None:
    """These are the conditions of the kernels that train."""
    ops = layer_ops(**{**COMPILED, **changes})
    width = 4 if changes.get("model_dtype") is Dtype.FP32 else 2
    assert (whole_mlp(ops, uncounted(ops, 8, width)) is not None) is runs


def test_an_mlp_keeps_gate_up_and_the_thin_products() -> None:
    """Per token 16 + 16 elements, R = 4 of gate and up together and 2 of down: 38 of two bytes."""
    ops = layer_ops(**COMPILED)
    assert whole_mlp(ops, uncounted(ops, 8)) is not None
    assert ops.tape.kept() == Size(per_token=76)


def test_backward_of_an_mlp_makes_one_tensor_as_wide_as_the_mlp() -> None:
    """76 kept and 16 of the incoming gradient; then 32 of the width and 4 of down's thin product,
    of which 16 give way to the input's gradient; 144 elements of adapters in fp32 at the end.
    """
    ops = layer_ops(**COMPILED)
    output = whole_mlp(ops, uncounted(ops, 8))
    assert output is not None
    ops.tape.drop(output)
    ops.tape.backward(output, accumulates=False, recomputed=False)
    assert max(level.per_token for level in ops.tape.levels) == 76 + 16 + 32 + 4
    assert ops.tape.level == Size(per_token=16, constant=4 * 144)


def test_projections_of_one_input_keep_one_thin_product() -> None:
    """R = 6 elements of two bytes; the input is counted elsewhere here."""
    ops = layer_ops(**COMPILED)
    query, key, value = joined_projections(ops, uncounted(ops, 8))
    assert [each.elements.per_token for each in (query, key, value)] == [8, 4, 4]
    assert ops.tape.kept() == Size(per_token=12)


def test_the_output_of_attention_is_a_group_of_its_own() -> None:
    """R = 2, and nothing where the projections before it run one by one."""
    ops = layer_ops(**COMPILED)
    assert attention_output(ops, uncounted(ops, 8)) is not None
    assert ops.tape.kept() == Size(per_token=4)
    plain = layer_ops(**COMPILED, lora_dropout=0.1)
    assert attention_output(plain, uncounted(plain, 8)) is None


def test_a_rotation_keeps_nothing() -> None:
    """Two fresh tensors; backward needs the tables, which are counted elsewhere."""
    ops = layer_ops(**COMPILED)
    query, key = uncounted(ops, 8), uncounted(ops, 4)
    assert turns_both(ops, query)
    compiled_rotary(ops, query, key)
    assert ops.tape.kept() == Size()
    assert ops.tape.level == Size(per_token=24)


def test_parts_of_heads_and_fp32_are_turned_as_ever() -> None:
    """Phi-2 turns 32 of 80 elements of a head, Cohere an fp32 copy."""
    for field in ({"rotary_dim": 2}, {"rotary_in_fp32": True}):
        ops = layer_ops(changed(TOY, **field), **COMPILED)
        assert not turns_both(ops, uncounted(ops, 8))
