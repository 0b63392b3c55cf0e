"""What a step holds for backward: the parts that no measurement moves."""

from __future__ import annotations

from dataclasses import replace

import pytest
from toy_decoder import ALL, TOY, WIDE

from memory_models.activations import (
    autocast_cache_bytes,
    block_kept_bytes,
    boundary_bytes,
    dequantized_bytes,
    dora_transient_bytes,
    tokens,
)
from memory_models.architecture import Architecture
from memory_models.instants import Instant, active_layers, instants
from memory_models.precision import precision
from memory_models.settings import (
    Attention,
    Dtype,
    FinetuningType,
    Quantization,
    TrainingSettings,
)

SHORT = TrainingSettings(sequence_length=10, micro_batch_size=3)


def test_tokens_are_sequences_times_their_length() -> None:
    """Three sequences of ten positions."""
    assert tokens(SHORT) == 30


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
    settings = replace(SHORT, **values)  # type: ignore[arg-type]
    assert boundary_bytes(TOY, settings) == size


def test_an_fp32_model_without_autocast_computes_in_fp32() -> None:
    """Operands, stream and outputs are four bytes wide and nothing is cast."""
    flow = precision(TrainingSettings(model_dtype=Dtype.FP32, autocast=None))
    assert (flow.operand, flow.residual, flow.projected, flow.casts_input) == (4, 4, 4, False)


def test_eager_attention_grows_with_the_square_of_the_length() -> None:
    """Doubling the length takes three more grids than doubling the batch; sdpa's takes none."""
    base = TrainingSettings(sequence_length=512, attention=Attention.EAGER)

    def excess(settings: TrainingSettings) -> int:
        longer = replace(settings, sequence_length=1024)
        wider = replace(settings, micro_batch_size=2)
        return block_kept_bytes(WIDE, longer, trained=False) - block_kept_bytes(
            WIDE, wider, trained=False
        )

    assert excess(base) >= 2 * 2 * 4 * 512**2
    assert excess(replace(base, attention=Attention.SDPA)) == 0


@pytest.mark.parametrize("architecture", ALL, ids=lambda found: found.name)
def test_a_dropout_or_a_second_kind_of_weight_to_train_never_keeps_less(
    architecture: Architecture,
) -> None:
    """Dropout masks and inputs of trained weights come on top."""
    plain = TrainingSettings(sequence_length=64, lora_rank=2)
    kept = block_kept_bytes(architecture, plain, trained=False)
    dropped = replace(plain, lora_dropout=0.1)
    assert block_kept_bytes(architecture, dropped, trained=False) >= kept
    full = replace(plain, finetuning_type=FinetuningType.FULL)
    assert block_kept_bytes(architecture, full, trained=True) > 0


def test_one_quantised_matrix_is_dequantised_at_a_time() -> None:
    """The toy's largest matrix has 128 elements, two bytes each; a plain base has none."""
    assert dequantized_bytes(TOY, TrainingSettings(quantization=Quantization.NF4)) == 256
    assert dequantized_bytes(TOY, TrainingSettings()) == 0


def test_only_dora_pays_for_its_weight_norms() -> None:
    """The norm's temporaries are DoRA's alone."""
    assert dora_transient_bytes(TOY, TrainingSettings()) == 0
    dora = TrainingSettings(finetuning_type=FinetuningType.DORA)
    assert dora_transient_bytes(TOY, dora) > 0


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
    settings = TrainingSettings(**values)  # type: ignore[arg-type]
    assert autocast_cache_bytes(100, settings) == size


@pytest.mark.parametrize(
    ("values", "layers"),
    [
        ({}, 2),
        ({"finetuning_type": FinetuningType.FULL}, 2),
        ({"finetuning_type": FinetuningType.FREEZE, "freeze_trainable_layers": 1}, 1),
        ({"finetuning_type": FinetuningType.FREEZE, "freeze_trainable_layers": 2}, 2),
    ],
)
def test_blocks_below_the_first_trained_one_keep_nothing(
    values: dict[str, object], layers: int
) -> None:
    """Backward ends at the first trained block."""
    settings = TrainingSettings(gradient_checkpointing=False, **values)  # type: ignore[arg-type]
    assert active_layers(TOY, settings) == layers


def moments(settings: TrainingSettings) -> dict[str, Instant]:
    """The moments of a step of the toy by name, 1000 bytes of gradients."""
    found = instants(TOY, settings, 1000)
    assert len({moment.name for moment in found}) == len(found)
    return {moment.name: moment for moment in found}


def test_forward_loss_backward_and_step_may_each_be_the_peak() -> None:
    """The peak is the largest of them, never their sum."""
    names = set(moments(SHORT))
    assert {"forward", "loss", "step"} < names
    assert any(name.startswith("backward") for name in names)


def test_a_moments_bytes_are_the_sum_of_its_parts() -> None:
    """1 + 2 + 3 + 4 + 5."""
    moment = Instant(name="any", checkpoints=1, block=2, loss=3, gradients=4, step=5)
    assert moment.bytes == 15


def test_gradients_are_there_early_only_with_accumulation() -> None:
    """In the first micro-batch of a single one, the forward pass has no gradients beside it."""
    assert moments(SHORT)["forward"].gradients == 0
    accumulating = replace(SHORT, gradient_accumulation_steps=2)
    assert moments(accumulating)["forward"].gradients == 1000


def test_every_gradient_is_there_at_the_end_of_backward_and_in_the_step() -> None:
    """The last moments hold them all."""
    assert moments(SHORT)["backward, first block"].gradients == 1000
    assert moments(SHORT)["step"].gradients == 1000


def test_checkpointing_keeps_one_boundary_a_block() -> None:
    """Two blocks of [30, 8] at two bytes, instead of all their activations."""
    forward = instants(TOY, SHORT, 0)[0]
    assert forward.checkpoints == 2 * 480
    kept = instants(TOY, replace(SHORT, gradient_checkpointing=False), 0)[0]
    assert kept.checkpoints == 2 * block_kept_bytes(TOY, SHORT, trained=False)
