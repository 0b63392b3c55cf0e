"""A packed plan under another project's trainer."""

from __future__ import annotations

from dataclasses import replace

from memory_models.units import GIB
from tests.support.golden import case
from tsplanner.exporters.padding import padded_for
from tsplanner.exporters.registry import EXPORTERS
from tsplanner.planner.plan import Verdict

ROWS = {"micro_batch_size": 1, "token_budget": 4096}


def test_another_trainer_pads_the_rows_of_a_packed_plan() -> None:
    """In the fastest micro-batch that fits there, at the same effective batch."""
    packed = case("qwen2.5-7b", **ROWS).plan
    found = padded_for(EXPORTERS["trl"], packed)
    batch = found.hardware.batch
    assert batch.token_budget is None
    assert batch.micro_batch_size > 1
    assert found.hardware.effective_batch_size == packed.hardware.effective_batch_size == 32
    room = EXPORTERS["trl"].room
    assert room is not None
    assert room(found).verdict is Verdict.FITS
    assert found.time.total_steps == packed.time.total_steps


def test_our_own_worker_runs_a_packed_plan_as_it_is() -> None:
    """And a padded plan stays as it is everywhere."""
    packed = case("qwen2.5-7b", **ROWS).plan
    assert padded_for(EXPORTERS["torchrun"], packed) is packed
    padded = case("qwen2.5-7b").plan
    assert padded_for(EXPORTERS["trl"], padded) is padded


def test_where_nothing_fits_rows_go_one_by_one() -> None:
    """The refusal then speaks of the smallest micro-batch."""
    packed = case("qwen2.5-7b", **ROWS).plan
    short = replace(packed, free_bytes=8 * GIB)
    tiny = padded_for(EXPORTERS["axolotl"], short)
    assert tiny.hardware.batch.micro_batch_size == 1
