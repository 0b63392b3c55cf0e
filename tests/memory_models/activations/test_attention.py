"""Self-attention as a program: two query heads of 4, one key/value head; linears keep nothing."""

from __future__ import annotations

import pytest

from memory_models.activations.attention import attention
from memory_models.settings import Attention, Dtype, changed
from memory_models.symbolic import Size
from tests.support.toy_decoder import TOY
from tests.support.toy_programs import layer_ops, uncounted

UNADAPTED = {"lora_target": ("down_proj",)}


@pytest.mark.parametrize(
    ("changes", "masked", "kept"),
    [
        # query 16, key 8, value 8, result 16 in bf16; log-sum-exp of two heads in fp32, 8
        ({}, False, Size(per_token=56)),
        # keys and values repeated to two heads, 8 more each; a bf16 mask per score
        ({}, True, Size(per_token=72, per_unit=2)),
        # query, repeated key and value 16 each; fp32 probabilities of two heads and a bf16 copy
        ({"attention": Attention.EAGER}, False, Size(per_token=48, per_unit=8 + 4)),
        # as flash, with a window as well
        ({"attention": Attention.FLEX_ATTENTION}, False, Size(per_token=56)),
        # flash needs half precision and grouped heads have no other kernel: products in fp32
        ({"autocast": None, "model_dtype": Dtype.FP32}, False, Size(per_token=96, per_unit=8)),
    ],
    ids=["flash", "masked", "eager", "flex", "math"],
)
def test_a_kernel_keeps_its_hand_counted_bytes(
    changes: dict[str, object], masked: bool, kept: Size
) -> None:
    """Only down_proj has an adapter."""
    ops = layer_ops(masked=masked, **UNADAPTED, **changes)
    wide = 4 if "model_dtype" in changes else 2
    result = attention(ops, uncounted(ops, 8, wide))
    assert ops.tape.kept() == kept
    assert result.elements == Size(per_token=8)


def test_norms_of_heads_keep_their_fp32_copies() -> None:
    """Query 8 elements and key 4 in fp32."""
    ops = layer_ops(changed(TOY, qk_norm=True), **UNADAPTED)
    attention(ops, uncounted(ops, 8))
    assert ops.tape.kept() == Size(per_token=56 + 32 + 16)


def test_soft_capped_scores_keep_the_tanh() -> None:
    """Two heads in bf16 per score."""
    capped = changed(TOY, attn_logit_softcapping=50.0)
    ops = layer_ops(capped, attention=Attention.EAGER, **UNADAPTED)
    attention(ops, uncounted(ops, 8))
    assert ops.tape.kept() == Size(per_token=48, per_unit=12 + 4)


def test_a_soft_cap_costs_flex_attention_no_bytes() -> None:
    """As without one: scores exist in the kernel alone."""
    ops = layer_ops(
        changed(TOY, attn_logit_softcapping=50.0), attention=Attention.FLEX_ATTENTION, **UNADAPTED
    )
    attention(ops, uncounted(ops, 8))
    assert ops.tape.kept() == Size(per_token=56)


def test_softmax_copies_bf16_scores_to_fp32_and_reads_fp16_ones() -> None:
    """So bf16 makes one tensor more."""
    made = {}
    for dtype in (Dtype.BF16, Dtype.FP16):
        ops = layer_ops(attention=Attention.EAGER, model_dtype=dtype, autocast=dtype, **UNADAPTED)
        attention(ops, uncounted(ops, 8))
        made[dtype] = ops.tape.allocations
    assert made[Dtype.BF16] == made[Dtype.FP16] + 1


def test_a_partly_rotated_head_is_joined_and_keeps_a_copy_of_the_result() -> None:
    """Flash keeps its result in the layout of the joined query; the output projection reads a copy.

    The toy's projection keeps nothing of it, so the kept bytes are those of a whole rotation.
    """
    ops = layer_ops(changed(TOY, rotary_dim=2), **UNADAPTED)
    attention(ops, uncounted(ops, 8))
    assert ops.tape.kept() == Size(per_token=56)
    adapted = layer_ops(changed(TOY, rotary_dim=2), lora_target=("o_proj",), autocast=None)
    whole = layer_ops(TOY, lora_target=("o_proj",), autocast=None)
    for each in (adapted, whole):
        attention(each, uncounted(each, 8))
    # Half of the rotation's tensors are half as wide, and each head is joined once more.
    assert adapted.tape.allocations > whole.tape.allocations


def test_a_rotation_in_fp32_keeps_no_fp32_tensor() -> None:
    """Cohere casts queries and keys to fp32 and back; only the casts back stay."""
    ops = layer_ops(changed(TOY, rotary_in_fp32=True), **UNADAPTED)
    attention(ops, uncounted(ops, 8))
    assert ops.tape.kept() == Size(per_token=56)
