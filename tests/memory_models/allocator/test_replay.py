"""Reserved bytes by replaying the step through the simulated allocator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memory_models.allocator.replay import reserved_bytes
from memory_models.estimate import estimate_memory
from memory_models.settings import (
    FinetuningType,
    LossKernel,
    Optimizer,
    TrainingSettings,
    changed,
    from_flat,
)
from tsplanner.models.source import read_model
from tsplanner.planner.gather.cases import read_case

MIB = 1024**2
SMALL = read_model("qwen2.5-0.5b").architecture
MEASUREMENTS = Path(__file__).parents[3] / "benchmarks" / "data" / "measurements"
USUAL = from_flat(TrainingSettings, sequence_length=1024, micro_batch_size=2)


def measured(count: int) -> list[dict[str, object]]:
    """Measured runs, evenly spread over the first file of them."""
    rows = json.loads((MEASUREMENTS / "memory_h200_2026-11-22.json").read_text())["cases"]
    good = [row for row in rows if row.get("measured", {}).get("status") == "ok"]
    good = [row for row in good if not row["case"].get("zero_stage")]
    return good[:: len(good) // count][:count]


@pytest.mark.parametrize("row", measured(12), ids=lambda row: row["case"]["model"])
def test_a_measured_run_stays_under_its_bound(row: dict[str, dict[str, int]]) -> None:
    """The bound is for runs like those that were measured."""
    case = read_case(row["case"], {})
    found = estimate_memory(case.architecture, case.settings, replay=True)
    assert found.peak_reserved_bytes.upper >= row["measured"]["peak_reserved_bytes"]


def test_most_measured_runs_are_met_within_three_percent() -> None:
    """Nine of these twelve."""
    errors = []
    for row in measured(12):
        case = read_case(row["case"], {})
        found = reserved_bytes(case.architecture, case.settings)
        errors.append(abs(found / row["measured"]["peak_reserved_bytes"] - 1))
    assert sorted(errors)[8] < 0.03


@pytest.mark.parametrize(
    "settings",
    [
        USUAL,
        changed(USUAL, gradient_checkpointing=False),
        changed(USUAL, loss_kernel=LossKernel.FUSED),
        changed(USUAL, finetuning_type=FinetuningType.FULL),
        changed(USUAL, finetuning_type=FinetuningType.FULL, optimizer=Optimizer.ADAFACTOR),
        changed(USUAL, finetuning_type=FinetuningType.FREEZE),
        changed(USUAL, finetuning_type=FinetuningType.ADALORA),
        changed(USUAL, gradient_accumulation_steps=4),
    ],
)
def test_a_replay_holds_at_least_the_tensors(settings: TrainingSettings) -> None:
    """The events reproduce the peak of allocated bytes: segments hold at least 97 % of it."""
    allocated = estimate_memory(SMALL, settings).peak_allocated_bytes.expected
    assert reserved_bytes(SMALL, settings) >= 0.97 * allocated


def test_reserved_bytes_are_whole_segments() -> None:
    """Segments are multiples of 2 MiB."""
    assert reserved_bytes(SMALL, USUAL) % (2 * MIB) == 0


def test_longer_accumulation_reserves_nothing_more_than_two_micro_batches() -> None:
    """From the second micro-batch on every one is alike."""
    two = changed(USUAL, gradient_accumulation_steps=2)
    many = changed(USUAL, gradient_accumulation_steps=16)
    assert reserved_bytes(SMALL, two) == reserved_bytes(SMALL, many)


def test_ddp_reserves_about_what_one_gpu_does() -> None:
    """An adapter's buckets are small beside the logits."""
    alone = estimate_memory(SMALL, USUAL, replay=True).peak_reserved_bytes.expected
    sharded = changed(USUAL, world_size=2)
    found = estimate_memory(SMALL, sharded, replay=True).peak_reserved_bytes.expected
    assert abs(found / alone - 1) < 0.1
