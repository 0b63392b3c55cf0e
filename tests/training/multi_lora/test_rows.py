"""Rows of the trials on a base: encoded once, split by the seed of each trial."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from memory_models.settings import changed
from tests.support import tiny
from tsplanner.training.base_model.tokenizer import load_tokenizer
from tsplanner.training.job import Job, JobKind
from tsplanner.training.multi_lora.rows import MultiLoraRows


def test_trials_of_one_cutoff_share_the_encoded_rows(tmp_path: Path) -> None:
    """20 rows, 2 held out: no seed of a trial holds out others, and all lie in one store."""
    plan = tiny.plan(tmp_path)
    rows = MultiLoraRows(plan.model, load_tokenizer(plan.model))
    job = Job(kind=JobKind.TRIAL, plan=plan, folder=str(tmp_path))
    first = rows.rows(job)
    second = rows.rows(replace(job, plan=replace(plan, learning=replace(plan.learning, seed=7))))
    assert [len(part) for part in (first.train, first.validation)] == [18, 2]
    assert first.train._rows is second.train._rows  # type: ignore[attr-defined]
    assert [list(row.input_ids) for row in first.train] == [
        list(row.input_ids) for row in second.train
    ]
    shorter = changed(plan, cutoff_len=48)
    third = rows.rows(replace(job, plan=shorter))
    assert max(len(row.input_ids) for row in third.train) <= 48


def test_a_probe_gets_its_longest_batch_for_every_micro_batch(tmp_path: Path) -> None:
    """Two rows of 64 tokens, three times, and none held out."""
    plan = tiny.plan(tmp_path)
    job = Job(kind=JobKind.PROBE, plan=plan, folder=str(tmp_path), probe_micro_batches=3)
    found = MultiLoraRows(plan.model, None).rows(job)
    assert [len(row.input_ids) for row in found.train] == [64] * 6
    assert found.validation == []
