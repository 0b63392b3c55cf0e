"""What a step holds of its activations outside the programs: the parts no measurement moves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.architecture import Activation
from memory_models.settings import (
    Dtype,
    FinetuningType,
    Quantization,
    TrainingSettings,
    changed,
    from_flat,
)
from memory_models.states.layer_inputs import (
    autocast_cache_bytes,
    boundary_bytes,
    int8_input_bytes,
    int8_kept_bytes,
)
from tests.support.toy_decoder import TOY

SHORT = from_flat(TrainingSettings, sequence_length=10, micro_batch_size=3)


@pytest.mark.parametrize(
    ("values", "size"),
    [
        ({}, 480),
        ({"model_dtype": Dtype.FP16, "autocast": Dtype.FP16}, 480),
        ({"autocast": None}, 480),
        ({"model_dtype": Dtype.FP32}, 960),
        ({"model_dtype": Dtype.FP32, "autocast": None}, 960),
        ({"quantization": Quantization.NF4}, 960),
        ({"quantization": Quantization.INT8}, 960),
    ],
)
def test_a_checkpoint_is_the_stream_in_its_own_dtype(values: dict[str, object], size: int) -> None:
    """[30, 8] elements; a quantised or fp32 base has an fp32 stream, autocast or not."""
    settings = changed(SHORT, **values)  # type: ignore[arg-type]
    assert boundary_bytes(TOY, settings) == size


def test_int8_products_hold_what_they_read() -> None:
    """A token: two norms' outputs 2 x 8 x 4, attention's 8 x 2, the MLP's product 16 x 4: 144."""
    assert int8_input_bytes(TOY, changed(SHORT, quantization=Quantization.INT8)) == 30 * 144
    assert int8_input_bytes(TOY, changed(SHORT, quantization=Quantization.NF4)) == 0


def test_relus_result_is_kept_once_though_the_int8_product_after_it_holds_it_too() -> None:
    """SiLU's product counts; under ReLU the 16 x 4 bytes a token are kept already."""
    run = changed(SHORT, quantization=Quantization.INT8)
    assert int8_kept_bytes(TOY, run) == int8_input_bytes(TOY, run)
    relu = replace(TOY, mlp=replace(TOY.mlp, activation=Activation.RELU))
    assert int8_kept_bytes(relu, run) == 30 * (144 - 16 * 4)


@pytest.mark.parametrize(
    ("values", "size"),
    [
        ({}, 200),
        ({"autocast": None}, 0),
        ({"finetuning_type": FinetuningType.FULL}, 0),
        ({"finetuning_type": FinetuningType.FULL, "model_dtype": Dtype.FP32}, 200),
    ],
)
def test_autocast_caches_half_precision_copies_of_trained_fp32_weights(
    values: dict[str, object], size: int
) -> None:
    """A hundred fp32 elements: two bytes each, none where they are half precision already."""
    settings = from_flat(TrainingSettings, **values)  # type: ignore[arg-type]
    assert autocast_cache_bytes(100, settings.states) == size
