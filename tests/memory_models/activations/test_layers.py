"""The stack of blocks: what it keeps, which blocks take part, masks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.activations.layers import (
    active_layers,
    kept_bytes,
    layer_totals,
    mask_bytes,
    masked_layers,
)
from memory_models.architecture import Architecture
from memory_models.settings import (
    Attention,
    FinetuningType,
    Quantization,
    TrainingSettings,
    changed,
    from_flat,
)
from tests.support.toy_decoder import ALL, TOY, WIDE

SHORT = from_flat(TrainingSettings, sequence_length=10, micro_batch_size=3, lora_rank=2)
KEPT = changed(SHORT, gradient_checkpointing=False)
FREEZE = changed(SHORT, finetuning_type=FinetuningType.FREEZE, freeze_trainable_layers=1)
WINDOWED = changed(TOY, num_hidden_layers=3, sliding_window=8, sliding_layers=2)


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
    assert active_layers(TOY, changed(KEPT, **values).layer) == layers


def test_checkpointing_keeps_one_boundary_a_block() -> None:
    """[30, 8] at two bytes are 480, a block of 512 bytes; two of them."""
    stack = layer_totals(TOY, SHORT)
    assert (stack.boundary, stack.last_kept, stack.all_kept) == (512, 512, 1024)


def test_checkpoints_of_frozen_blocks_outlast_backward() -> None:
    """One of two blocks is trained: the other's checkpoint is there to the end."""
    assert layer_totals(TOY, FREEZE).below_trained == 512
    assert layer_totals(TOY, SHORT).below_trained == 0


def test_without_checkpointing_every_block_keeps_its_tensors_rounded_up() -> None:
    """32 tensors of at most 480 + 480 bytes: the first block lacks its first norm's copy.

    At 30 tokens, 32 bytes a token are two of the allocator's blocks, 16 and less are one.
    """
    stack = layer_totals(TOY, KEPT)
    assert stack.boundary == 0
    assert stack.last_kept == kept_bytes(TOY, KEPT, trained=False)
    assert stack.all_kept == 2 * stack.last_kept - 1024


def test_a_blocks_kept_bytes_are_whole_blocks_of_the_allocator() -> None:
    """Two norms, gate, its activation, up and down's input, 32 bytes a token, are 6 x 1024; below
    that 512 each: five cast inputs and the output projection's, seven results of A, query, key,
    value, result, log-sum-exp, and fourteen casts of adapters.
    """
    assert kept_bytes(TOY, KEPT, trained=False) == 6 * 1024 + (6 + 7 + 5 + 14) * 512


def test_int8_inputs_are_held_by_every_block() -> None:
    """144 bytes a token and block, checkpointed or not."""
    held = changed(SHORT, quantization=Quantization.INT8)
    assert layer_totals(TOY, held).all_kept == 2 * (1024 + 30 * 144)


@pytest.mark.parametrize(("length", "layers"), [(7, 0), (8, 2), (9, 2)])
def test_a_window_as_long_as_the_sequence_needs_a_mask(length: int, layers: int) -> None:
    """Below the window, causal attention is all there is."""
    assert masked_layers(WINDOWED, replace(SHORT, sequence_length=length)) == layers
    assert masked_layers(TOY, SHORT) == 0


@pytest.mark.parametrize(
    ("architecture", "values", "size"),
    [
        (TOY, {}, 0),
        (TOY, {"attention": Attention.EAGER}, 2 * 300),
        (WINDOWED, {}, 300),
        (WINDOWED, {"attention": Attention.EAGER}, 2 * 2 * 300),
        (WINDOWED, {"attention": Attention.FLASH_ATTENTION_2}, 0),
    ],
)
def test_masks_are_squares_of_the_length(
    architecture: Architecture, values: dict[str, object], size: int
) -> None:
    """Three times 10 x 10: a byte each in sdpa, the stream's dtype for each kind in eager."""
    settings = changed(SHORT, **values)  # type: ignore[arg-type]
    assert mask_bytes(architecture, settings) == size


def test_windowed_blocks_keep_their_masks() -> None:
    """Two of three blocks keep repeated heads and a mask beside what the third keeps."""
    plain = changed(WINDOWED, sliding_layers=0)
    assert layer_totals(WINDOWED, KEPT).all_kept > layer_totals(plain, KEPT).all_kept


def test_eager_attention_grows_with_the_square_of_the_length() -> None:
    """Doubling the length takes two more grids than doubling the batch; sdpa's takes none."""
    base = from_flat(TrainingSettings, sequence_length=512, attention=Attention.EAGER, lora_rank=2)

    def excess(settings: TrainingSettings) -> int:
        longer = replace(settings, sequence_length=1024)
        wider = changed(settings, micro_batch_size=2)
        return kept_bytes(WIDE, longer, trained=False) - kept_bytes(WIDE, wider, trained=False)

    # Four heads' probabilities, fp32 and bf16: 4 x 6 bytes.
    assert excess(base) == 2 * 24 * 512**2
    assert excess(changed(base, attention=Attention.SDPA)) == 0


@pytest.mark.parametrize("architecture", ALL, ids=lambda found: found.name)
def test_a_dropout_never_keeps_less(architecture: Architecture) -> None:
    """Dropout masks come on top."""
    plain = from_flat(TrainingSettings, sequence_length=64, lora_rank=2)
    dropped = changed(plain, lora_dropout=0.1)
    kept = kept_bytes(architecture, plain, trained=False)
    assert kept_bytes(architecture, dropped, trained=False) > kept
