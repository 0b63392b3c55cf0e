"""Whether a trial fits the memory that is free, with its neighbours beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from memory_models.settings import changed
from tests.support import tiny
from tsplanner.planner.replan import replan
from tsplanner.tune.runner.feasible import feasible_under
from tsplanner.tune.runner.slots import Slots

ALONE = Slots(jobs=1)


def test_a_trial_is_planned_anew_and_held_to_what_is_free(tmp_path: Path) -> None:
    """The bytes over are the upper bound of the trial's own estimate minus the free bytes."""
    plan = tiny.plan(tmp_path)
    larger = changed(plan.learning, lora_rank=8)
    over, planned = feasible_under(plan, ALONE)(larger)
    assert planned.learning == larger
    assert planned.free_bytes == plan.free_bytes
    assert over == replan(plan, larger).memory.process_bytes.upper - plan.free_bytes
    assert over < 0


def test_neighbours_count_with_their_memory(tmp_path: Path) -> None:
    """Two trials on one CPU need twice the bytes; two on two GPUs have one each."""
    plan = tiny.plan(tmp_path)
    need = replan(plan, plan.learning).memory.process_bytes.upper
    over, _ = feasible_under(plan, Slots(jobs=2))(plan.learning)
    assert over == 2 * need - plan.free_bytes
    over, _ = feasible_under(plan, Slots(jobs=2, devices=("GPU-0", "GPU-1")))(plan.learning)
    assert over == need - plan.free_bytes


def test_a_tight_plan_stays_accepted_and_more_than_it_needs_is_not(tmp_path: Path) -> None:
    """The plan was accepted with a bound above the free memory, so its own trial runs."""
    plan = tiny.plan(tmp_path)
    plan = replace(plan, memory=replan(plan, plan.learning).memory, free_bytes=1)
    feasible = feasible_under(plan, ALONE)
    assert feasible(plan.learning)[0] == 0
    assert feasible(changed(plan.learning, lora_rank=32))[0] > 0


def test_settings_that_cannot_run_are_over_by_all_that_is_free(tmp_path: Path) -> None:
    """A rank above the matrices of the model has no estimate at all."""
    plan = tiny.plan(tmp_path)
    over, planned = feasible_under(plan, ALONE)(changed(plan.learning, lora_rank=10_000))
    assert (over, planned) == (plan.free_bytes, plan)
