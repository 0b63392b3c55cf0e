"""Several GPUs: more trials, or more ranks a trial."""

from __future__ import annotations

from pathlib import Path

from tsplanner.planner.gather.requests import Subject, plan_request
from tsplanner.planner.plan import Plan
from tsplanner.planner.rank import choose
from tsplanner.planner.request import Pins
from tsplanner.tune.runner.gpus_per_trial import one_gpu_per_trial


def plan(model: str, gpus: str, **pins: object) -> Plan:
    """The plan of a model on such GPUs."""
    subject = Subject(model=model, gpus=gpus, pins=Pins(**pins))  # type: ignore[arg-type]
    return choose(plan_request(subject, Path("saves"))).plan


def test_a_model_that_fits_one_gpu_is_searched_one_trial_a_gpu() -> None:
    """Two ranks never make twice the steps of one."""
    both = plan("qwen2.5-0.5b", "2x H100", world_size=2)
    alone = one_gpu_per_trial(both)
    assert alone is not None
    assert alone.hardware.sharding.world_size == 1
    assert alone.learning == both.learning
    assert alone.hardware.effective_batch_size == both.hardware.effective_batch_size


def test_a_plan_of_one_gpu_stays_as_it_is() -> None:
    """There is nothing to choose."""
    assert one_gpu_per_trial(plan("qwen2.5-0.5b", "H100")) is None


def test_a_model_too_large_for_one_gpu_keeps_its_ranks() -> None:
    """Sharded over two cards it trains; on one it does not fit in half precision."""
    sharded = plan("qwen2.5-14b", "2x RTX 3090", world_size=2, zero_stage=3)
    assert one_gpu_per_trial(sharded) is None
