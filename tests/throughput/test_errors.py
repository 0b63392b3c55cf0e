"""How wide the interval of predicted seconds is, by what a step waits for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import TrainingSettings, from_flat
from tests.support.rig import HOPPER, TURING, machine
from tsplanner.throughput.errors import HALF_WIDTHS, WaitsFor, relative_error, waits_for
from tsplanner.throughput.rates import rates_of
from tsplanner.throughput.step_parts import StepTime

STEP = StepTime(matrix=4, memory=1, launch=1, optimizer=0, communication=0, offload=0)
ONE = from_flat(TrainingSettings)
RATES = rates_of(machine(replace(HOPPER, compute_capability=(9, 0))))


@pytest.mark.parametrize(
    ("launch", "kind"), [(1.0, WaitsFor.WORK), (3.9, WaitsFor.WORK), (4.1, WaitsFor.HOST)]
)
def test_a_step_that_nearly_waits_for_the_host_is_as_uncertain_as_the_host(
    launch: float, kind: WaitsFor
) -> None:
    """5 s of work: a host that needs more than 4 s may be the slower one."""
    assert waits_for(replace(STEP, launch=launch), ONE, RATES) is kind


def test_the_widest_interval_that_applies_counts() -> None:
    """Several processes, offload, a GPU that was not measured, and a CPU."""
    two = from_flat(TrainingSettings, world_size=2)
    offloaded = from_flat(TrainingSettings, world_size=2, zero_stage=2, offload_optimizer=True)
    assert waits_for(STEP, two, RATES) is WaitsFor.PROCESSES
    assert waits_for(STEP, offloaded, RATES) is WaitsFor.OFFLOAD
    assert waits_for(STEP, ONE, rates_of(machine(TURING))) is WaitsFor.ELSEWHERE
    assert waits_for(STEP, ONE, rates_of(machine())) is WaitsFor.CPU
    # An interval of offload is narrower than one of cards that were not measured.
    assert relative_error(STEP, offloaded, rates_of(machine(TURING))) == 0.55


def test_every_kind_has_a_half_width() -> None:
    """Shares above nothing and below all."""
    assert set(HALF_WIDTHS) == set(WaitsFor)
    assert all(0 < share < 1 for share in HALF_WIDTHS.values())
