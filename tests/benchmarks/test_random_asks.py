"""Random asks: what is drawn, what the search says of it, and how outcomes are judged."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from benchmarks.plan_quality.asks import Ask, asked, base_plan
from benchmarks.plan_quality.random_asks import judged

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
CASES = BENCHMARKS / "data" / "cases" / "random_asks.jsonl"


def small(**changed: object) -> Ask:
    """A trial of a small model on a card of 16 GiB."""
    given = {
        "model": "qwen2.5-0.5b",
        "method": "lora",
        "cap_gib": 16,
        "cutoff_len": 512,
        "batch": 8,
        "rank": 16,
        "learning_rate": 1e-4,
        "epochs": 2,
    }
    return msgspec.convert(given | changed, Ask)


def test_hundred_asks_lie_evenly_around_their_cards() -> None:
    """Half are admitted, packs and four-bit bases are among them, every card has its share."""
    asks = [msgspec.convert(json.loads(line), Ask) for line in CASES.open()]
    assert len(asks) == 100
    assert {ask.cap_gib for ask in asks} == {16, 24, 48}
    assert sum(bool(ask.packed_ranks) for ask in asks) >= 15
    assert sum(ask.quantization == "nf4" for ask in asks) >= 10


def test_an_ask_is_run_with_its_own_settings() -> None:
    """Rank, rate and epochs are the ask's, the batch is kept, and a small model is admitted."""
    ask = small()
    found = asked(ask, base_plan(ask))
    assert found.admitted
    assert found.plan.learning.method.lora_rank == 16
    assert found.plan.learning.optimization.num_train_epochs == 2
    assert found.plan.hardware.effective_batch_size == 8


def test_a_pack_of_too_many_on_a_small_card_is_refused() -> None:
    """Eight trials of rank 64 at the whole batch of 4096 tokens need more than 16 GiB."""
    ask = small(cutoff_len=4096, packed_ranks=(64,) * 8, micro_batch=8, checkpointing=False)
    found = asked(ask, base_plan(ask))
    assert not found.admitted
    assert found.ratio > 1
    assert found.plan.hardware.batch.micro_batch_size == 8


def test_bars_count_what_ran_out_of_memory_and_what_was_refused_for_nothing() -> None:
    """An admitted ask without memory and a refused one with it are the two mistakes."""
    rows = [
        *({"admitted": True, "status": "ok"} for _ in range(7)),
        {"admitted": True, "status": "device_oom"},
        {"admitted": False, "status": "ok"},
        {"admitted": False, "status": "device_oom"},
        {"admitted": False, "status": "out of time"},
    ]
    figures = judged(rows)
    assert figures["ran"] == 10
    assert figures["admitted_out_of_memory"] == 1
    assert figures["fitted_but_refused"] == 1
    assert figures["refused_share"] == 1 / 8
