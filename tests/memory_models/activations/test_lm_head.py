"""Last norm, head and loss, counted by hand: V = 32, D = 8."""

from __future__ import annotations

import pytest

from memory_models.activations.lm_head import fused_rows, lm_head_memory, shares_head
from memory_models.settings import (
    DecoderKernels,
    Dtype,
    FinetuningType,
    LossKernel,
    Quantization,
    TrainingSettings,
    changed,
)
from tests.support.toy_decoder import TOY, WIDE

PLAIN = TrainingSettings(sequence_length=1)
FUSED = changed(PLAIN, loss_kernel=LossKernel.FUSED)
FULL = changed(PLAIN, finetuning_type=FinetuningType.FULL)
CAPPED = changed(TOY, final_logit_softcapping=30.0)


@pytest.mark.parametrize(
    ("values", "size"),
    [
        # the norm's fp32 copy 32 and its result 16; logits 2, their fp32 copy 4, log-softmax 4
        ({}, 48 + 10 * 32),
        # the stream 32 and the norm's result 32; fp32 logits need no copy
        ({"model_dtype": Dtype.FP32, "autocast": None}, 64 + 8 * 32),
    ],
)
def test_plain_loss_takes_ten_bytes_a_logit_forward(values: dict[str, object], size: int) -> None:
    """Eight where the logits are fp32 already."""
    settings = changed(PLAIN, **values)  # type: ignore[arg-type]
    assert lm_head_memory(TOY, settings.head).forward.bytes(1, 0) == size


def test_plain_loss_takes_twelve_bytes_a_logit_backward() -> None:
    """Saved log-softmax, its gradient and the result, fp32 each; the norm's fp32 copy 32."""
    assert lm_head_memory(TOY, PLAIN.head).backward.bytes(1, 0) == 12 * 32 + 32


def test_soft_capped_logits_keep_their_tanh() -> None:
    """Two bytes a logit more: 14."""
    assert lm_head_memory(CAPPED, PLAIN.head).backward.bytes(1, 0) == 14 * 32 + 32


def test_an_fp32_head_is_cast_for_its_product() -> None:
    """A quantised base's head [32, 8] at two bytes is kept beside the 12 bytes a logit."""
    settings = changed(PLAIN, quantization=Quantization.NF4)
    assert lm_head_memory(TOY, settings.head).backward.bytes(1, 0) == 12 * 32 + 32 + 512


def test_a_fused_loss_holds_one_chunk_of_logits() -> None:
    """A token: norm's fp32 copy 32, its result, the rows and their gradient 16 each. A row of the
    chunk: its fp32 logits and their gradient 4 bytes each, both in bf16 too, three rows of 16.
    """
    assert lm_head_memory(TOY, FUSED.head).forward.bytes(4, 1) == 4 * 80 + 12 * 32 + 48


def test_a_soft_capped_chunk_takes_more() -> None:
    """The ratio and its tanh come on top."""
    plain = lm_head_memory(TOY, FUSED.head).forward.bytes(0, 1)
    assert lm_head_memory(CAPPED, FUSED.head).forward.bytes(0, 1) > plain


def test_backward_of_a_fused_loss_only_scales_what_forward_made() -> None:
    """No logits: gradient of the hidden states, the norm's fp32 copy and its work."""
    assert lm_head_memory(TOY, FUSED.head).backward.bytes(0, 1) == 0
    assert lm_head_memory(TOY, FUSED.head).backward.bytes(1, 0) < 12 * 32


def test_a_trained_heads_gradient_is_summed_up_in_fp32_and_cast() -> None:
    """256 elements: fp32 1024 and a chunk's bf16 product 512 forward, its cast 512 backward."""
    full = changed(FULL, loss_kernel=LossKernel.FUSED)
    assert lm_head_memory(TOY, full.head).forward.bytes(0, 0) == 1024 + 512
    assert lm_head_memory(TOY, full.head).backward.bytes(0, 0) == 1024 + 512


def test_a_trained_heads_gradient_stays_unless_it_is_added_to_an_earlier_one() -> None:
    """A tied head's gradient waits for the embedding's in any case."""
    accumulating = changed(FULL, gradient_accumulation_steps=2)
    tied = changed(TOY, tie_word_embeddings=True)
    once = lm_head_memory(TOY, FULL.head).backward
    assert lm_head_memory(TOY, accumulating.head).backward.bytes(10, 0) <= once.bytes(10, 0)
    assert (
        lm_head_memory(tied, accumulating.head).backward == lm_head_memory(tied, FULL.head).backward
    )


@pytest.mark.parametrize(("length", "rows"), [(1, 1), (4, 1), (5, 2), (12, 4), (64, 16)])
def test_a_chunks_logits_take_about_as_much_as_the_hidden_states(length: int, rows: int) -> None:
    """V / D is 4: a quarter of the tokens, rounded up to a power of two."""
    assert fused_rows(TOY, TrainingSettings(sequence_length=length)) == rows


@pytest.mark.parametrize("length", [1, 2, 3, 100, 4096])
def test_a_chunk_is_no_longer_than_the_batch(length: int) -> None:
    """At least a row, at most every row."""
    rows = fused_rows(WIDE, TrainingSettings(sequence_length=length))
    assert 1 <= rows <= length


def test_a_head_of_several_processes_works_on_the_rows_of_all_of_them() -> None:
    """A token: as for a whole head, 80. A row of the chunk, for two processes: 2 x 8 states and
    their gradient's 8 in bf16, and logits of 2 rows with 16 of 32 words each: fp32 and bf16.

    At the end the logits in both dtypes, the gradients of two rows and the own one of one.
    """
    shared = changed(FUSED, world_size=2, fsdp=True)
    row = 32 * (4 + 2) + 2 * 16 + 16
    assert lm_head_memory(TOY, shared.head).forward.bytes(4, 1) == 4 * 80 + row
    assert not shares_head(changed(TOY, tie_word_embeddings=True), shared.head)
    compiled = changed(shared, decoder_kernels=DecoderKernels.COMPILED, sequence_length=4)
    assert fused_rows(TOY, compiled) == 1
