"""The phases of a step: each may be the peak, and none is the sum of others."""

from __future__ import annotations

from memory_models.architecture import Architecture
from memory_models.settings import (
    Attention,
    FinetuningType,
    Optimizer,
    TrainingSettings,
    changed,
    effective_settings,
    from_flat,
)
from memory_models.step_order import StepPhase
from memory_models.step_phases import PhasePeak, phase_peaks
from tests.support.toy_decoder import TIED, TOY

SHORT = from_flat(TrainingSettings, sequence_length=10, micro_batch_size=3, lora_rank=2)
FULL = changed(SHORT, finetuning_type=FinetuningType.FULL)
GRADIENTS = 2 * 14 * 512
"""Fourteen adapter matrices a block, each in a block of 512 bytes."""


def peaks(
    settings: TrainingSettings, architecture: Architecture = TOY
) -> dict[StepPhase, PhasePeak]:
    """The peaks of a step by phase."""
    found = phase_peaks(architecture, effective_settings(settings))
    assert len({peak.phase for peak in found}) == len(found)
    return {peak.phase: peak for peak in found}


def test_forward_loss_backward_and_step_may_each_be_the_peak() -> None:
    """The peak is the largest of them, never their sum."""
    assert list(peaks(SHORT)) == [
        "forward",
        "forward, loss",
        "loss",
        "backward, last block",
        "backward, first block",
        "backward, embedding",
        "step",
    ]


def test_a_phases_bytes_are_the_sum_of_its_parts() -> None:
    """1 + 2 + 3 + 4 + 5 + 6."""
    peak = PhasePeak(
        StepPhase.LOSS, checkpoints=1, layer=2, loss=3, gradients=4, step=5, gathered=6
    )
    assert peak.bytes == 21


def test_gradients_are_there_early_only_with_accumulation() -> None:
    """In the first micro-batch of a single one, the forward pass has no gradients beside it."""
    assert peaks(SHORT)["forward"].gradients == 0
    accumulating = changed(SHORT, gradient_accumulation_steps=2)
    assert peaks(accumulating)["forward"].gradients == GRADIENTS


def test_adaloras_gradients_come_first_in_backward() -> None:
    """Its orthogonality term is the last of forward."""
    adalora = changed(SHORT, finetuning_type=FinetuningType.ADALORA)
    assert peaks(adalora)["forward, loss"].gradients == 0
    # Its third tensor, the singular values, is a block of 512 bytes as well.
    assert peaks(adalora)["loss"].gradients == 2 * 21 * 512


def test_every_gradient_is_there_at_the_end_of_backward_and_in_the_step() -> None:
    """The first block's own 14 gradients of 512 bytes are counted by its program until it ends."""
    found = peaks(SHORT)
    assert found["backward, first block"].gradients == GRADIENTS - 14 * 512
    assert found["backward, embedding"].gradients == GRADIENTS
    assert found["step"].gradients == GRADIENTS


def test_a_trained_heads_gradient_is_the_first_of_backward() -> None:
    """[32, 8] at two bytes; a frozen head has none."""
    assert peaks(FULL)["backward, last block"].gradients == 512
    assert peaks(SHORT)["backward, last block"].gradients == 0


def test_a_tied_embedding_has_two_gradients_to_sum_up() -> None:
    """The head's and the sum beside the one that stays; with accumulation an earlier sum too.

    Gradients: eight tensors a block, the embedding and the last norm, 512 bytes each.
    """
    every = 18 * 512
    assert peaks(FULL, TIED)["backward, embedding"].gradients == every + 2 * 512
    twice = changed(FULL, gradient_accumulation_steps=2)
    assert peaks(twice, TIED)["backward, embedding"].gradients == every + 3 * 512


def test_two_blocks_and_no_more_are_gathered_in_backward() -> None:
    """The toy's blocks are 592 elements of two bytes; 576 are in matrices that are shared out.

    The head's 256 are whole in the loss.
    """
    sharded = changed(SHORT, world_size=2, zero_stage=3)
    found = peaks(sharded)
    assert found["loss"].gathered >= 512
    assert found["backward, last block"].gathered <= 2 * 1184 + 2 * 256
    assert peaks(changed(sharded, world_size=1))["loss"].gathered == 0


def test_gradients_leave_at_once_from_zero_2_on() -> None:
    """Full fine-tuning: the bucket is 8 x 8 elements of two bytes, its flat copy as much, and a
    gradient of 8 x 16 is larger than both.
    """
    sharded = changed(FULL, world_size=2, zero_stage=3)
    assert peaks(sharded)["backward, last block"].gradients == 2 * 128
    assert peaks(sharded)["step"].gradients == 0


def test_checkpoints_go_one_after_another() -> None:
    """Two checkpoints of 512 bytes: one in forward's last block, both in the loss, one at last."""
    found = peaks(SHORT)
    assert found["forward"].checkpoints == 512
    assert found["loss"].checkpoints == 1024
    assert found["backward, last block"].checkpoints == 1024
    assert found["backward, first block"].checkpoints == 512


def test_autocasts_copies_of_adapters_wait_beside_checkpoints() -> None:
    """512 adapter elements at two bytes are there until forward has ended, in the loss no more."""
    found, plain = peaks(SHORT), peaks(changed(SHORT, lora_rank=1))
    assert found["forward, loss"].loss - plain["forward, loss"].loss == 2 * 256
    assert found["loss"].loss == plain["loss"].loss


def test_masks_are_there_until_backward_has_ended() -> None:
    """Eager attention's mask: 3 x 10 x 10 at two bytes; the loss has no block at work beside it."""
    eager = peaks(changed(SHORT, attention=Attention.EAGER))
    assert eager["loss"].layer == 600
    assert eager["step"].layer == 0


def test_the_optimizers_temporaries_are_the_steps_alone() -> None:
    """Foreach AdamW: a square root of every second moment, 512 fp32 elements."""
    found = peaks(changed(SHORT, optimizer=Optimizer.ADAMW_TORCH))
    assert [peak.step for peak in found.values()] == [0, 0, 0, 0, 0, 0, 2048]
