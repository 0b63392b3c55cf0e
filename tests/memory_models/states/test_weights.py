"""Parameters of the base, counted, and the bytes that hold them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.architecture import Architecture, Linear, Role
from memory_models.settings import Dtype, Quantization, TrainingSettings, changed, from_flat
from memory_models.states.weights import (
    base_weight_bytes,
    encoder_parameters,
    form_of,
    largest_quantized_weight,
    layer_parameters,
    quantized_weight_bytes,
    stored_linears,
    total_parameters,
)
from tests.support.toy_decoder import ENCODER, EXPERTS, LAYER_NORM, TIED, TOY, WITH_ENCODER


@pytest.mark.parametrize(
    ("architecture", "block", "total"),
    [
        # 592 a block; 256 embedding + 2 x 592 + 8 final norm + 256 head
        (TOY, 592, 1704),
        # no head of its own
        (TIED, 592, 1448),
        # attention 192, router 8 x 4 = 32, four experts of 384, norms 16 = 1776; 256 + 3552 + 264
        (EXPERTS, 1776, 4072),
        # four 8 x 8 with biases 4 x 72 = 288, fc1 128 + 16, fc2 128 + 8, norms 2 x 16: 600;
        # 256 tied embedding + 528 positions + 1200 + final norm 16
        (LAYER_NORM, 600, 2000),
        # encoder 4 x 8 + 8 and 8 x 8 + 8 = 112 more than the toy
        (WITH_ENCODER, 592, 1816),
    ],
    ids=lambda value: value.name if isinstance(value, Architecture) else str(value),
)
def test_parameters_are_counted_exactly(architecture: Architecture, block: int, total: int) -> None:
    """Every matrix, bias and norm of a toy model, added by hand."""
    assert layer_parameters(architecture) == block
    assert total_parameters(architecture) == total


def test_the_encoder_counts_its_position_embedding_and_norm() -> None:
    """12 x 8 + 8 = 104, 8 x 8 + 8 = 72, eleven rows of 2 = 22, a norm of 16: 214."""
    full = replace(
        ENCODER,
        use_position_embedding=True,
        embedding_dim=2,
        max_sequence_length=10,
        use_layer_norm=True,
    )
    assert encoder_parameters(replace(TOY, encoder=full)) == 214
    assert encoder_parameters(TOY) == 0


@pytest.mark.parametrize(("dtype", "size"), [(Dtype.BF16, 9728), (Dtype.FP32, 10_752)])
def test_plain_weights_take_their_dtypes_bytes(dtype: Dtype, size: int) -> None:
    """Every tensor is a block of 512 bytes, which hold 256 elements in half precision, 128 in fp32.

    A layer's 7 matrices and its norms 8 x 512 = 4096, two of them 8192; final norm 512; embedding
    and head, 256 elements each, 512 in half precision and 1024 in fp32.
    """
    assert base_weight_bytes(TOY, from_flat(TrainingSettings, model_dtype=dtype).states) == size


def test_an_nf4_base_keeps_embedding_head_and_norms_in_fp32() -> None:
    """Preparation for k-bit training casts what is not 4-bit to fp32.

    NF4 with its code book: 64 weights 32 + 4 + 512 = 548, 32: 16 + 4 + 512 = 532,
    128: 64 + 8 + 512 = 584. A block: 2 x 548 + 2 x 532 + 3 x 584 = 3912, two of them 7824.
    The rest: norms of two layers 2 x 512, embedding and head 2 x 1024, final norm 512: 3584.
    """
    settings = from_flat(TrainingSettings, quantization=Quantization.NF4)
    assert base_weight_bytes(TOY, settings.states) == 7824 + 3584


def test_int8_takes_a_byte_a_weight_and_a_scale_a_row() -> None:
    """A 256 x 256 matrix: 65,536 bytes and 256 fp32 scales."""
    square = Linear(name="q_proj", role=Role.QUERY, in_features=256, out_features=256)
    assert quantized_weight_bytes(square, Quantization.INT8) == 65_536 + 1024


@pytest.mark.parametrize("form", [Quantization.FP8, Quantization.W8A8])
def test_our_own_8_bits_are_those_of_the_decoder_layers(form: Quantization) -> None:
    """A 256 x 256 matrix takes what int8 takes; encoders and sides of 40 stay whole."""
    square = Linear(name="q_proj", role=Role.QUERY, in_features=256, out_features=256)
    assert quantized_weight_bytes(square, form) == 65_536 + 1024
    assert form_of(square, form) is form
    assert form_of(replace(square, role=Role.ENCODER), form) is None
    assert form_of(replace(square, out_features=40), form) is None
    assert form_of(replace(square, out_features=40), Quantization.NF4) is Quantization.NF4
    # The toy's matrices have sides of 4 and 8, so that it stays as it is, in half precision.
    settings = from_flat(TrainingSettings, quantization=form)
    plain = from_flat(TrainingSettings)
    assert base_weight_bytes(TOY, settings.states) == base_weight_bytes(TOY, plain.states)
    found = [each for _, _, each in stored_linears(TOY, form)]
    assert found == [None] * len(found)


def test_experts_are_not_quantised() -> None:
    """Fused expert weights are no ``nn.Linear``: only attention and router move.

    4072 - 2 x (192 + 32) = 3624 elements stay, in fp32.
    """
    settings = from_flat(TrainingSettings, quantization=Quantization.NF4_DQ)
    assert base_weight_bytes(EXPERTS, settings.states) > 4 * 3624
    assert largest_quantized_weight(EXPERTS) == 64


def test_a_trainer_may_leave_half_precision_beside_quantised_matrices() -> None:
    """Two bytes an element instead of four of what bitsandbytes leaves alone."""
    large = changed(TOY, vocab_size=TOY.vocabulary.vocab_size * 4096)
    fp32 = from_flat(TrainingSettings, quantization=Quantization.NF4)
    kept = changed(fp32, upcast_unquantized=False)
    half = base_weight_bytes(large, fp32.states) - base_weight_bytes(large, kept.states)
    embeddings = 1 if large.vocabulary.tie_word_embeddings else 2
    assert half == 2 * embeddings * large.vocabulary.vocab_size * large.hidden_size


def test_a_models_own_rotary_caches_come_on_top() -> None:
    """100 cached numbers in half precision are 200 bytes that nothing quantises."""
    cached = changed(TOY, rotary_buffer_count=100)
    assert base_weight_bytes(cached, TrainingSettings().states) == 9728 + 200


@pytest.mark.parametrize("architecture", [TOY, LAYER_NORM], ids=lambda found: found.name)
def test_storage_is_ordered_by_bits_where_the_model_is_large(architecture: Architecture) -> None:
    """Of a real-sized model, fewer bits a weight are fewer bytes."""
    large = changed(
        architecture,
        linears=tuple(
            replace(linear, in_features=4096, out_features=4096)
            for linear in architecture.layer.linears
        ),
    )
    sizes = [
        base_weight_bytes(large, from_flat(TrainingSettings, quantization=quantization).states)
        for quantization in (Quantization.NF4_DQ, Quantization.NF4, Quantization.INT8, None)
    ]
    assert sizes == sorted(sizes)
