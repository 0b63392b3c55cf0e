"""One trial on a shared base: which rows come when."""

from __future__ import annotations

from pathlib import Path

from memory_models.settings import changed
from tests.support import tiny
from tsplanner.training.batches import EncodedSample
from tsplanner.training.job import Job, JobKind
from tsplanner.training.multi_lora.trial import MicroBatch, micro_batches

ROWS = [EncodedSample(input_ids=[7, number, 7], labels=[-100, number, 7]) for number in range(10)]
"""Ten rows with two labels that count in each."""


def drawn(tmp_path: Path, *, epochs: int, seed: int = 1) -> list[MicroBatch]:
    """Micro-batches of 2 rows, 2 per step."""
    plan = changed(tiny.plan(tmp_path), num_train_epochs=epochs)
    plan = changed(plan, seed=seed)
    job = Job(kind=JobKind.TRIAL, plan=plan, folder=str(tmp_path))
    return list(micro_batches(ROWS, job, lambda row: len(row.input_ids)))


def numbers(batches: list[MicroBatch]) -> list[int]:
    """Which rows came."""
    return [row.input_ids[1] for batch in batches for row in batch.rows]


def test_an_epoch_has_every_row_once_and_ends_with_a_smaller_step(tmp_path: Path) -> None:
    """Ten rows are two steps of four and one of two: 8, 8 and 4 labels."""
    found = drawn(tmp_path, epochs=1)
    assert sorted(numbers(found)) == list(range(10))
    assert [len(batch.rows) for batch in found] == [2, 2, 2, 2, 2]
    assert [batch.items for batch in found] == [8, 8, 8, 8, 4]
    assert [batch.ends_step for batch in found] == [False, True, False, True, True]
    assert [batch.epoch for batch in found] == [0.2, 0.4, 0.6, 0.8, 1.0]


def test_epochs_have_orders_of_their_own_that_the_seed_fixes(tmp_path: Path) -> None:
    """As a sampler of Trainer draws them."""
    found = numbers(drawn(tmp_path, epochs=2))
    assert found[:10] != found[10:]
    assert numbers(drawn(tmp_path, epochs=2)) == found
    assert numbers(drawn(tmp_path, epochs=2, seed=2)) != found
