"""The MLP as a program: 16 middle elements per token; its linears are frozen and unadapted."""

from __future__ import annotations

import pytest

from memory_models.activations.mlp import mlp
from memory_models.architecture import Activation, Architecture, Linear, Role
from memory_models.settings import DecoderKernels, Dtype, changed
from memory_models.symbolic import Size
from tests.support.toy_decoder import EXPERTS, LAYER_NORM, TOY, attention
from tests.support.toy_programs import layer_ops, uncounted

FUSED_MATRIX = changed(
    TOY,
    linears=(
        *attention(8, 8, 4),
        Linear(name="gate_up_proj", role=Role.GATE_UP, in_features=8, out_features=32),
        Linear(name="down_proj", role=Role.DOWN, in_features=16, out_features=8),
    ),
)


@pytest.mark.parametrize(
    ("architecture", "kept"),
    [
        # gate, its activation and up, 16 elements in bf16 each
        (TOY, 96),
        # gate and up in one tensor 64, the activation 32
        (FUSED_MATRIX, 96),
        # ReLU keeps its result
        (LAYER_NORM, 32),
        # two experts per token: gate and up 128, the activation 64, what the weights multiply 32
        (EXPERTS, 224),
    ],
    ids=["gated", "fused matrix", "plain", "experts"],
)
def test_an_mlp_keeps_its_hand_counted_bytes(architecture: Architecture, kept: int) -> None:
    """Only q_proj has an adapter, so the linears here keep nothing."""
    ops = layer_ops(architecture, lora_target=("q_proj",))
    result = mlp(ops, uncounted(ops, 8))
    assert ops.tape.kept() == Size(per_token=kept)
    assert result.elements == Size(per_token=8)


def test_a_fused_product_does_not_keep_the_activation() -> None:
    """Gate and up remain."""
    ops = layer_ops(lora_target=("q_proj",), decoder_kernels=DecoderKernels.FUSED)
    mlp(ops, uncounted(ops, 8))
    assert ops.tape.kept() == Size(per_token=64)


@pytest.mark.parametrize(
    ("autocast", "kept"),
    [
        # half of the input 32 in bf16; input, tanh and tanh plus one in fp32, 64 each
        (Dtype.BF16, 32 + 3 * 64),
        # all four in bf16
        (None, 4 * 32),
    ],
)
def test_a_gelu_written_out_keeps_four_tensors(autocast: Dtype | None, kept: int) -> None:
    """Phi-2's: autocast runs its power in fp32."""
    plain = changed(LAYER_NORM, activation=Activation.GELU_NEW)
    ops = layer_ops(plain, lora_target=("q_proj",), autocast=autocast)
    mlp(ops, uncounted(ops, 8))
    assert ops.tape.kept() == Size(per_token=kept)


def test_peft_keeps_the_sum_of_every_experts_weight_and_adapter() -> None:
    """Down of four experts: 4 x 16 x 8 elements in bf16, A and B of rank 2, 4 x 2 x 24, cast."""
    ops = layer_ops(EXPERTS, lora_target=("down_proj",), lora_rank=2)
    mlp(ops, uncounted(ops, 8))
    kept = ops.tape.kept()
    assert kept.constant == 2 * (4 * 16 * 8 + 4 * 2 * (16 + 8))
    # Beside the 224 of frozen experts the product that down reads: its weight has a gradient.
    assert kept.per_token == 224 + 64
