"""When sharing a base pays on an H200, and how many trials share one."""

from __future__ import annotations

from typing import Any

import pytest

from memory_models.settings import (
    DecoderKernels,
    LossKernel,
    TrainingSettings,
    from_flat,
)
from tsplanner.datasets.records import LengthSummary
from tsplanner.hardware.describe import read_machine_file, shipped_machine
from tsplanner.models.source import read_model
from tsplanner.planner.explain.reasons import AloneReason
from tsplanner.planner.explain.sentences import CHINESE
from tsplanner.planner.multi_lora.speedup import (
    Room,
    Sharing,
    SharingOptions,
    best_sharing,
    sharing_candidates,
)
from tsplanner.throughput.rates import rates_of

RANKS = (8, 16, 24, 32, 40, 48, 56, 64)
GIB = 2**30


def sharing(batch: int, length: int = 512, *, free: int = 139 * GIB, ranks: Any = RANKS) -> Sharing:
    """Eight trials of Qwen3-8B on one H200."""
    file = shipped_machine("1x-h200-141gib")
    assert file is not None
    machine = read_machine_file(file)
    solo = from_flat(
        TrainingSettings,
        lora_rank=max(ranks),
        sequence_length=length,
        micro_batch_size=batch,
        gradient_checkpointing=False,
        loss_kernel=LossKernel.FUSED,
        decoder_kernels=DecoderKernels.FUSED,
        expandable_segments=True,
    )
    architecture = read_model("qwen3-8b").architecture
    room = Room(free_bytes=free, device=machine.devices[0])
    return best_sharing(architecture, solo, ranks, rates_of(machine), room)


def test_two_short_rows_a_step_leave_room_for_all_eight_trials() -> None:
    """1,024 tokens do not fill the GPU: eight such trials in a pass make twice the steps."""
    found = sharing(2)
    assert found.trials == 8
    assert found.gain > 2.0
    assert found.settings.method.adapter_ranks == RANKS


def test_sharing_does_not_pay_where_a_trial_fills_the_gpu() -> None:
    """16 rows of 512 tokens: the trials run one after the other, by the best solo settings."""
    found = sharing(16)
    assert (found.trials, found.gain, found.settings.method.adapter_ranks) == (1, 1.0, ())
    assert found.alone_reason is AloneReason.GPU_BUSY
    assert "8,192 tokens per step keep the GPU busy alone" in found.reason


def test_less_memory_means_fewer_trials_or_more_checkpoints_within_it() -> None:
    """The upper bound stays under what is free."""
    whole, less = sharing(2), sharing(2, free=40 * GIB)
    assert less.process_bytes <= 40 * GIB
    assert less.gain < whole.gain
    assert sharing(2, free=21 * GIB).reason == "No two trials fit beside each other on one base."


@pytest.mark.parametrize("batch", [1, 2, 6, 8, 16])
def test_sharing_never_moves_the_effective_batch(batch: int) -> None:
    """Micro-batch times accumulation is the trial's batch, alone or not."""
    settings = sharing(batch, free=48 * GIB).settings
    assert settings.batch.micro_batch_size * settings.batch.gradient_accumulation_steps == batch


def test_one_trial_shares_with_none() -> None:
    """There is nothing to put beside it."""
    assert sharing(2, ranks=(8,)).reason == "There is one trial alone."


def test_sharing_is_told_in_both_languages() -> None:
    """The number of trials and their gain, or the reason why each trial runs alone."""
    found = sharing(2)
    gain = f"{found.gain:.1f}"
    assert found.reason == (f"8 trials in one pass make {gain}x as many steps per second as one.")
    assert gain in found.in_words(CHINESE)
    assert sharing(2, ranks=(8,)).in_words(CHINESE) == "只有一个试验。"


def test_passes_hold_the_largest_ranks_and_keep_each_trials_batch() -> None:
    """Any of the trials may share, so two trials are sized by the two largest of three ranks."""
    solo = from_flat(TrainingSettings, micro_batch_size=2, gradient_accumulation_steps=2)
    found = list(sharing_candidates(solo, (16, 8, 32), exactly=2))
    assert {settings.method.adapter_ranks for settings in found} == {(16, 32)}
    assert {settings.batch.micro_batch_size for settings in found} == {1, 2, 4}
    for settings in found:
        batch = settings.batch
        assert batch.micro_batch_size * batch.gradient_accumulation_steps == 4
    tried = {len(each.method.adapter_ranks) for each in sharing_candidates(solo, (16, 8, 32))}
    assert tried == {2, 3}


def packed_sharing(batch: int, budget: int = 2000) -> Sharing:
    """Eight trials of Qwen3-8B that pack rows of 50 to 2,000 positions."""
    lengths = from_flat(
        LengthSummary,
        rows_total=1000,
        rows_kept=1000,
        longest=2000,
        mean=300.0,
        counted_by="tokenizer",
        quantiles=(50, 150, 250, 400, 2000),
    )
    file = shipped_machine("1x-h200-141gib")
    assert file is not None
    machine = read_machine_file(file)
    solo = from_flat(
        TrainingSettings,
        lora_rank=max(RANKS),
        sequence_length=budget,
        gradient_accumulation_steps=batch,
        token_budget=budget,
        gradient_checkpointing=False,
        loss_kernel=LossKernel.FUSED,
        decoder_kernels=DecoderKernels.FUSED,
        expandable_segments=True,
    )
    return best_sharing(
        read_model("qwen3-8b").architecture,
        solo,
        RANKS,
        rates_of(machine),
        Room(free_bytes=139 * GIB, device=machine.devices[0]),
        SharingOptions(lengths=lengths),
    )


def test_packed_trials_of_few_rows_share_a_base() -> None:
    """Two rows of 300 positions do not fill the GPU; the passes stay packed."""
    found = packed_sharing(2)
    assert found.trials > 2
    assert found.gain > 1.3
    assert found.settings.batch.is_packed
    assert found.settings.batch.gradient_accumulation_steps == 2
    assert found.settings.sequence_length >= 2000


def test_packed_trials_that_fill_the_gpu_run_alone() -> None:
    """64 rows of 300 positions are 19,200 a step, and that is what the sentence says."""
    found = packed_sharing(64, budget=24_000)
    assert found.trials == 1
    assert found.tokens_per_step == 64 * 300
