"""Checkpoints on some layers: as few as fit, and only where that wins."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import changed
from tests.support.toy_request import GIB, HOPPER, request, with_free
from tsplanner.planner.evaluate import Evaluated, evaluate
from tsplanner.planner.plan import Verdict
from tsplanner.planner.rank import choose
from tsplanner.planner.request import Pins, PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.checkpointed_layers import some_layers
from tsplanner.planner.space.waves import evaluate_all


def asked(free_gib: float, **pins: object) -> PlanRequest:
    """7B of 28 layers at 4,096 tokens: 20 GiB hold it with checkpoints, 50 without."""
    given = Pins(quantization=None, **pins)  # type: ignore[arg-type]
    return request("qwen2.5-7b", with_free(HOPPER, free_gib), length=4096, packages=(), pins=given)


def test_as_few_layers_are_checkpointed_as_fit() -> None:
    """One less would not surely fit; the plan is faster than with all of them."""
    choice = choose(asked(24))
    hardware = choice.plan.hardware
    assert choice.plan.verdict is Verdict.FITS
    assert hardware.batch.checkpointed_layers is not None
    assert 1 < hardware.batch.checkpointed_layers < 28
    less = changed(hardware, checkpointed_layers=hardware.batch.checkpointed_layers - 1)
    assert evaluate(asked(24), less, replay=True).verdict is not Verdict.FITS
    whole = choose(asked(24, checkpointed_layers=None)).plan
    assert whole.hardware.batch.checkpointed_layers is None
    assert choice.plan.time.step_seconds < 0.95 * whole.time.step_seconds
    assert choice.plan.hardware in [row.evaluated.hardware for row in choice.front]


def test_the_more_memory_the_fewer_checkpoints() -> None:
    """None at all in the end; never slower than with all or none."""
    speeds = []
    for free in (20, 24, 28, 32, 48):
        some, whole = choose(asked(free)).plan, choose(asked(free, checkpointed_layers=None)).plan
        assert some.time.step_seconds <= 1.02 * whole.time.step_seconds
        assert some.memory.process_bytes.upper <= free * GIB
        speeds.append(1 / some.time.step_seconds)
    assert speeds == sorted(speeds)
    assert not some.hardware.batch.gradient_checkpointing


@pytest.mark.parametrize(
    "pins",
    [{"checkpointed_layers": None}, {"gradient_checkpointing": True}, {"checkpointed_layers": 20}],
)
def test_a_pinned_number_is_not_searched_for(pins: dict[str, object]) -> None:
    """Every candidate is as it was asked for."""
    evaluated, _ = evaluate_all(asked(24, **pins))
    wanted = pins.get("checkpointed_layers")
    assert {found.hardware.batch.checkpointed_layers for found in evaluated} == {wanted}


def test_little_is_looked_at() -> None:
    """Two estimates at most a pair of all and none, and none where no checkpoints fit."""
    roomy = asked(130)
    evaluated, _ = evaluate_all(replace(roomy, pins=Pins(checkpointed_layers=None)))
    looked: list[HardwareSettings] = []

    def look(hardware: HardwareSettings) -> Evaluated:
        looked.append(hardware)
        return evaluate(tight, hardware)

    tight = asked(24)
    of_pairs, _ = evaluate_all(asked(24, checkpointed_layers=None))
    assert some_layers(tight, of_pairs, look)
    assert 0 < len(looked) <= len(of_pairs)
    looked.clear()
    best = max(evaluated, key=lambda found: found.samples_per_second)
    assert some_layers(roomy, [replace(best, verdict=Verdict.FITS), *evaluated], look) == []
    assert looked == []
