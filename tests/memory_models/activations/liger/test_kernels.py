"""Liger's kernels: what they keep, and what backward writes over. The toy has D = 8, F = 16."""

from __future__ import annotations

import pytest

from memory_models.activations.liger.kernels import (
    has_gated_product,
    liger_loss,
    liger_norm,
    liger_product,
    liger_rotary,
    saved_after,
)
from memory_models.activations.lm_head import LmHead
from memory_models.activations.ops import LayerOps
from memory_models.architecture import Activation, Architecture, Role
from memory_models.settings import (
    Attention,
    DecoderKernels,
    Dtype,
    FinetuningType,
    LossKernel,
    TrainingSettings,
    changed,
    from_flat,
)
from memory_models.symbolic import ALLOC, ZERO, Event, Size, Value, total
from tests.support.toy_decoder import TOY
from tests.support.toy_programs import layer_ops

LIGER = {"decoder_kernels": DecoderKernels.LIGER, "loss_kernel": LossKernel.LIGER}
GEMMA_2 = changed(TOY, model_type="gemma2")


def ops_of(architecture: Architecture = TOY, **changes: object) -> LayerOps:
    """Ops under Liger's patch."""
    return layer_ops(architecture, **{**LIGER, **changes})


def made(events: list[Event]) -> Size:
    """The sum of what is allocated."""
    return total(size for sign, size in events if sign == ALLOC)


def backward(ops: LayerOps, result: Value) -> Size:
    """Bytes that backward allocates for the gradient of everything before ``result``."""
    return made(ops.tape.backward(result, accumulates=False, recomputed=False))


@pytest.mark.parametrize(("rows", "kept"), [(1, 16 + 4), (2, 16 + 8)])
def test_a_norm_keeps_its_input_and_a_number_per_row(rows: int, kept: int) -> None:
    """Eight elements of two bytes, and an fp32 number for each row of a token."""
    ops = ops_of()
    liger_norm(ops, ops.tape.new(Size(per_token=8), 2), rows)
    assert ops.tape.kept() == Size(per_token=kept)


@pytest.mark.parametrize(("architecture", "fresh"), [(TOY, ZERO), (GEMMA_2, Size(per_token=16))])
def test_a_norms_backward_writes_into_its_gradient_or_makes_one(
    architecture: Architecture, fresh: Size
) -> None:
    """Gemma 2's gradient is a tensor of its own: eight elements of two bytes."""
    ops = ops_of(architecture)
    result = liger_norm(ops, ops.tape.new(Size(per_token=8), 2), 1)
    assert backward(ops, result) == fresh


def test_a_rotation_makes_no_tensor_in_either_direction() -> None:
    """The result stands where the query stood."""
    ops = ops_of()
    query = ops.tape.new(Size(per_token=8), 2)
    before = ops.tape.allocations
    turned = liger_rotary(ops, query)
    assert turned.storage is query.storage
    assert ops.tape.allocations == before
    assert backward(ops, turned) == ZERO


def test_eager_attention_lays_the_gradient_out_by_heads_so_that_it_is_copied() -> None:
    """A copy of 16 bytes per token, in backward alone."""
    ops = ops_of(attention=Attention.EAGER)
    turned = liger_rotary(ops, ops.tape.new(Size(per_token=8), 2))
    assert backward(ops, turned) == Size(per_token=16)


def test_the_product_is_overwritten_by_the_gradients_of_its_factors() -> None:
    """Gate and up of 16 elements stay; backward needs no tensor beside them."""
    ops = ops_of()
    gate, up = (ops.tape.new(Size(per_token=16), 2) for _ in range(2))
    result = liger_product(ops, gate, up)
    ops.tape.drop(gate, up)
    assert ops.tape.kept() == Size(per_token=64)
    assert backward(ops, result) == ZERO


def test_halves_of_one_product_are_copied_and_the_copies_are_kept() -> None:
    """Both copies together are as large as the product, which does not stay."""
    ops = ops_of()
    both = ops.tape.new(Size(per_token=32), 2)
    gate, up = ops.tape.split(both, (Size(per_token=16), Size(per_token=16)))
    ops.tape.drop(both)
    liger_product(ops, gate, up)
    ops.tape.drop(gate, up)
    assert ops.tape.kept() == Size(per_token=64)


@pytest.mark.parametrize(
    ("activation", "runs"),
    [(Activation.SILU, True), (Activation.GELU_TANH, True), (Activation.GELU, False)],
)
def test_the_kernel_knows_two_activations(activation: Activation, runs: bool) -> None:
    """SwiGLU and GeGLU with the tanh approximation."""
    assert has_gated_product(ops_of(changed(TOY, activation=activation))) is runs


def test_a_plain_mlp_has_no_gated_product() -> None:
    """Without a gate there is nothing to multiply."""
    linears = tuple(each for each in TOY.layer.linears if each.role is not Role.GATE)
    assert not has_gated_product(ops_of(changed(TOY, linears=linears)))


def test_a_checkpoint_runs_a_kernel_whole() -> None:
    """What has been allocated so far is made again, the result included."""
    ops = ops_of()
    ops.tape.new(Size(per_token=8), 2)
    saved_after(ops)
    assert ops.tape.last_save == 1


def head_of(**changes: object) -> LmHead:
    """The program of the toy's head under Liger's loss."""
    settings = from_flat(TrainingSettings, **{**LIGER, **changes})
    return LmHead(TOY, settings.head)


def run_loss(head: LmHead, width: int) -> Size:
    """What the loss allocates for hidden states of ``width`` bytes per element."""
    hidden = head.tape.new(Size(per_token=8), width)
    start = len(head.tape.events)
    liger_loss(head, hidden, 256, head.head_bytes)
    return made(head.tape.events[start:])


def test_the_loss_holds_the_gradient_and_one_chunk_of_logits() -> None:
    """[n, 8] in bf16, and 32 logits of two bytes for each row of a chunk."""
    assert run_loss(head_of(), 2) == Size(per_token=16, per_unit=64)


def test_a_trained_heads_gradient_is_made_in_forward_and_stays() -> None:
    """256 elements in the weight's dtype."""
    head = head_of(finetuning_type=FinetuningType.FULL)
    assert run_loss(head, 2) == Size(per_token=16, per_unit=64, constant=512)
    assert head.tape.kept() == Size(constant=512)


def test_autocast_casts_an_fp32_head_and_keeps_the_second_cast() -> None:
    """Gradients in fp32: [n, 8] and 256 elements, and two casts of the head of 512 bytes.

    A row of a chunk has three tensors of 8 elements and its 32 logits, all in bf16.
    """
    head = head_of(finetuning_type=FinetuningType.FULL, model_dtype=Dtype.FP32)
    assert run_loss(head, 4) == Size(per_token=32, constant=4 * 256 + 2 * 512, per_unit=3 * 16 + 64)
