"""The common ops: which of them allocate, and what backward keeps."""

from __future__ import annotations

import pytest

from memory_models.settings import DecoderKernels, Dtype, FinetuningType, Quantization
from memory_models.symbolic import ZERO, Size
from tests.support.toy_programs import layer_ops, uncounted


def test_a_cast_to_the_same_dtype_allocates_nothing() -> None:
    """Eight elements in bf16 stay as they are; in fp32 they take 32 bytes."""
    ops = layer_ops()
    value = uncounted(ops, 8)
    ops.cast(value, 2)
    assert ops.tape.levels == []
    assert ops.cast(value, 4).bytes == 4
    assert ops.tape.level == Size(per_token=32)


def test_a_sum_has_the_wider_dtype() -> None:
    """bf16 plus fp32 is fp32, and backward keeps neither term."""
    ops = layer_ops()
    assert ops.add(uncounted(ops, 8, 2), uncounted(ops, 8, 4)).bytes == 4
    assert ops.tape.kept() == ZERO


def test_a_copy_takes_the_place_of_its_source() -> None:
    """Both exist for a moment, 32 bytes per token; then the source goes."""
    ops = layer_ops()
    source = ops.tape.new(Size(per_token=8), 2)
    ops.copy(source)
    assert ops.tape.levels == [Size(per_token=16), Size(per_token=32)]
    assert ops.tape.level == Size(per_token=16)


def test_dropout_keeps_a_mask_of_one_byte_per_element() -> None:
    """Eight elements: eight bytes, whatever the dtype."""
    for bytes in (2, 4):
        ops = layer_ops()
        ops.dropout(uncounted(ops, 8, bytes))
        assert ops.tape.kept() == Size(per_token=8)


@pytest.mark.parametrize(("trained", "cached", "kept"), [(False, 0, 128), (True, 1, 128)])
def test_autocast_casts_an_fp32_weight(trained: bool, cached: int, kept: int) -> None:
    """64 elements at two bytes; autocast caches the cast if the weight requires a gradient."""
    ops = layer_ops(
        trained=trained,
        model_dtype=Dtype.FP32,
        finetuning_type=FinetuningType.FULL if trained else FinetuningType.LORA,
    )
    ops.product(uncounted(ops, 8), Size(per_token=8), 64, 4)
    assert len(ops.cached) == cached
    assert ops.tape.kept() == Size(constant=kept)


def test_a_frozen_product_in_its_own_dtype_keeps_nothing() -> None:
    """Only the gradient of the input is needed, and that needs the weight alone."""
    ops = layer_ops()
    ops.product(uncounted(ops, 8), Size(per_token=8), 64, 2)
    assert ops.tape.kept() == ZERO


def test_the_dtypes_of_a_layer_follow_the_settings() -> None:
    """Adapters are fp32 on a bf16 base, and half precision where DeepSpeed cast all parameters."""
    assert (layer_ops().stored, layer_ops().adapter) == (2, 4)
    assert layer_ops(zero_stage=2).adapter == 2
    assert layer_ops(model_dtype=Dtype.FP32).stored == 4
    assert layer_ops(quantization=Quantization.NF4).upcast
    assert not layer_ops(quantization=Quantization.NF4, upcast_unquantized=False).upcast
    assert layer_ops(decoder_kernels=DecoderKernels.FUSED).fused


def test_the_stream_is_the_callers_to_allocate() -> None:
    """The program may free the stream, so the running sum may fall below zero."""
    ops = layer_ops()
    ops.tape.drop(ops.stream())
    assert ops.tape.level == Size(per_token=-16)
