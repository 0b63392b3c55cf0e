"""The fused kernels: when they run, and what backward keeps."""

from __future__ import annotations

import pytest

from memory_models.activations.fused_kernels import (
    adapted_linear,
    adapted_mixture,
    fused_adapter,
    fused_experts,
    fused_norm,
    fused_product,
    gated_product,
    row_norm,
)
from memory_models.architecture import Activation
from memory_models.settings import DecoderKernels, Dtype, FinetuningType, Quantization, changed
from memory_models.symbolic import ZERO, Size
from tests.support.toy_decoder import EXPERTS, LAYER_NORM, TOY
from tests.support.toy_programs import layer_ops, named, uncounted

FUSED = {"decoder_kernels": DecoderKernels.FUSED}


@pytest.mark.parametrize(
    ("changes", "runs"),
    [
        ({}, True),
        ({"finetuning_type": FinetuningType.RSLORA}, True),
        ({"finetuning_type": FinetuningType.DORA}, False),
        ({"lora_dropout": 0.1}, False),
        ({"quantization": Quantization.NF4}, True),
        ({"quantization": Quantization.INT8}, False),
        ({"model_dtype": Dtype.FP32}, False),
        ({"decoder_kernels": DecoderKernels.REFERENCE}, False),
    ],
)
def test_an_adapter_is_fused_if_it_is_plain_lora_in_half_precision(
    changes: dict[str, object], runs: bool
) -> None:
    """These are the conditions of the kernel that trains."""
    ops = layer_ops(**{**FUSED, **changes})
    assert fused_adapter(ops, named("q_proj"), uncounted(ops, 8)) is runs


def test_an_fp32_input_is_not_fused() -> None:
    """The kernel multiplies in the input's dtype."""
    ops = layer_ops(**FUSED)
    assert not fused_adapter(ops, named("q_proj"), uncounted(ops, 8, 4))


def test_a_fused_adapter_keeps_the_thin_product_and_casts() -> None:
    """[n, 2] in bf16 is 4 per token; A and B have 16 elements each, cast to two bytes.

    The input is kept too, but counted elsewhere here.
    """
    ops = layer_ops(**FUSED)
    adapted_linear(ops, named("q_proj"), uncounted(ops, 8))
    assert ops.tape.kept() == Size(per_token=4, constant=64)


def test_a_fused_adapter_leaves_the_gradients_of_both_matrices() -> None:
    """32 elements in fp32, and the gradient of the input."""
    ops = layer_ops(**FUSED)
    output = adapted_linear(ops, named("q_proj"), uncounted(ops, 8))
    ops.tape.drop(output)
    ops.tape.backward(output, accumulates=False, recomputed=False)
    assert ops.tape.level == Size(per_token=16, constant=128)


@pytest.mark.parametrize(
    ("architecture", "changes", "runs"),
    [
        (TOY, {}, True),
        (LAYER_NORM, {}, False),
        (changed(TOY, norm_scales_in_fp32=True), {}, False),
        (TOY, {"model_dtype": Dtype.FP32}, False),
        (TOY, {"decoder_kernels": DecoderKernels.REFERENCE}, False),
    ],
    ids=["rms", "layer norm", "gemma", "fp32 weight", "reference"],
)
def test_a_norm_is_fused_if_it_is_an_rms_norm_of_the_streams_dtype(
    architecture: object, changes: dict[str, object], runs: bool
) -> None:
    """A bf16 value of eight elements per token."""
    ops = layer_ops(architecture, **{**FUSED, **changes})  # type: ignore[arg-type]
    assert fused_norm(ops, uncounted(ops, 8)) is runs


def test_a_fused_norm_makes_its_result_alone() -> None:
    """The input is kept and counted elsewhere."""
    ops = layer_ops(**FUSED)
    row_norm(ops, uncounted(ops, 8))
    assert ops.tape.levels == [Size(per_token=16)]
    assert ops.tape.kept() == ZERO


def test_gate_and_up_are_one_op_for_silu() -> None:
    """Another activation runs as its own kernel, and so does a model without a gate."""
    assert fused_product(layer_ops(**FUSED))
    assert not fused_product(layer_ops())
    assert not fused_product(layer_ops(changed(TOY, activation=Activation.GELU), **FUSED))
    assert not fused_product(layer_ops(LAYER_NORM, **FUSED))


def test_a_gated_product_keeps_both_inputs_and_recomputes_silu() -> None:
    """Gate and up have 16 bf16 elements each; backward holds one more for a moment."""
    ops = layer_ops(**FUSED)
    gate, up = (ops.tape.new(Size(per_token=16), 2) for _ in range(2))
    middle = gated_product(ops, gate, up)
    assert ops.tape.kept() == Size(per_token=64)
    ops.tape.drop(middle)
    ops.tape.backward(middle, accumulates=False, recomputed=False)
    # Kept 64, the result's gradient 32, silu 32, gradients of gate and up 32 each.
    assert max(level.per_token for level in ops.tape.levels) == 64 + 4 * 32


ON_EXPERTS = {**FUSED, "lora_target": ("gate_proj", "up_proj", "down_proj"), "lora_rank": 2}


def test_adapted_experts_keep_the_first_product_and_two_thin_ones() -> None:
    """Two experts per token: 2 x 32 elements of gate and up, and 2 x (4 + 2) of rank, in bf16."""
    ops = layer_ops(EXPERTS, **ON_EXPERTS)
    assert fused_experts(ops)
    result = adapted_mixture(ops, uncounted(ops, 8))
    assert ops.tape.kept() == Size(per_token=128 + 24)
    assert result.elements == Size(per_token=8)


@pytest.mark.parametrize(
    "changes",
    [
        {"lora_target": ("q_proj",)},
        {"model_dtype": Dtype.FP32},
        {"decoder_kernels": DecoderKernels.REFERENCE},
    ],
    ids=["attention alone", "fp32", "reference"],
)
def test_other_experts_run_as_in_transformers(changes: dict[str, object]) -> None:
    """Without an adapter there is nothing to fuse."""
    assert not fused_experts(layer_ops(EXPERTS, **{**ON_EXPERTS, **changes}))
