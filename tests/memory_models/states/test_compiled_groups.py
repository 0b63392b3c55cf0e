"""Which linears run together, and the bytes of the copies of their adapters."""

from __future__ import annotations

import pytest

from memory_models.architecture import Activation
from memory_models.settings import (
    BaseStorage,
    DecoderKernels,
    Dtype,
    FinetuningType,
    Method,
    Quantization,
    changed,
)
from memory_models.states.compiled_groups import (
    attention_group,
    copy_bytes,
    mlp_groups,
    output_group,
    rank_in,
)
from tests.support.toy_decoder import EXPERTS, TOY

LORA = Method(lora_rank=2)


def names(group: tuple) -> list[str]:
    """The linears of a group."""
    return [linear.name for linear in group]


def test_linears_of_one_input_run_together() -> None:
    """Query, key and value; gate and up; the other two alone."""
    assert names(attention_group(TOY, LORA)) == ["q_proj", "k_proj", "v_proj"]
    assert names(output_group(TOY, LORA)) == ["o_proj"]
    assert [names(group) for group in mlp_groups(TOY, LORA)] == [
        ["gate_proj", "up_proj"],
        ["down_proj"],
    ]


@pytest.mark.parametrize(
    "method",
    [
        Method(finetuning_type=FinetuningType.DORA),
        Method(lora_dropout=0.1),
        Method(finetuning_type=FinetuningType.FULL),
        Method(adapter_ranks=(8, 16)),
    ],
)
def test_other_methods_have_no_groups(method: Method) -> None:
    """DoRA, dropout, trained weights and several trials have linears of their own."""
    assert not attention_group(TOY, method)
    assert not output_group(TOY, method)
    assert not mlp_groups(TOY, method)


def test_a_mixture_and_another_activation_keep_their_mlp() -> None:
    """The kernel knows silu, and one matrix of each kind."""
    assert not mlp_groups(EXPERTS, LORA)
    assert not mlp_groups(changed(TOY, activation=Activation.GELU), LORA)


def test_the_copies_of_a_layer_are_counted_block_by_block() -> None:
    """Each takes less than a block of 512: q, k, v four, o two, gate and up three, down two."""
    copies = copy_bytes(TOY, LORA, BaseStorage(), DecoderKernels.COMPILED)
    assert copies == 2 * (4 + 2 + 3 + 2) * 512


def test_only_what_has_an_adapter_is_copied() -> None:
    """With q_proj alone: all A of its group, and one B, in each of two layers."""
    method = Method(lora_rank=2, lora_target=("q_proj",))
    assert copy_bytes(TOY, method, BaseStorage(), DecoderKernels.COMPILED) == 2 * 2 * 512
    assert rank_in(TOY, attention_group(TOY, method)[1], method) == 0


@pytest.mark.parametrize(
    ("base", "copied"),
    [
        (BaseStorage(quantization=Quantization.NF4), True),
        (BaseStorage(quantization=Quantization.FP8), True),
        (BaseStorage(quantization=Quantization.INT8), False),
        (BaseStorage(model_dtype=Dtype.FP32), False),
    ],
)
def test_copies_serve_half_precision_products(base: BaseStorage, copied: bool) -> None:
    """Bitsandbytes' int8 and fp32 multiply in a way of their own; other kernels copy nothing."""
    assert bool(copy_bytes(TOY, LORA, base, DecoderKernels.COMPILED)) is copied
    assert copy_bytes(TOY, LORA, base, DecoderKernels.FUSED) == 0
