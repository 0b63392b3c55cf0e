"""What probes say of step times: two medians, and residuals that neighbours share."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_models.settings import LossKernel, changed, from_flat
from tests.support.toy_request import HOPPER, request
from tsplanner.planner.evaluate import evaluate, rates_for
from tsplanner.planner.probe_selection.step_corrections import (
    PRIOR_ERROR,
    Measured,
    Outcome,
    corrections_of,
    distance,
    nearest,
    probed_time,
    scaled,
    time_ratio,
)
from tsplanner.planner.settings import HardwareSettings, training_settings
from tsplanner.throughput.step_parts import StepTime
from tsplanner.throughput.step_time import step_time

ASKED = request("qwen2.5-0.5b", HOPPER)
ONE = from_flat(HardwareSettings, micro_batch_size=2, gradient_accumulation_steps=8)
TWO = changed(ONE, micro_batch_size=4, gradient_accumulation_steps=4)


@pytest.mark.parametrize(
    ("values", "far"),
    [
        ({}, 0.0),
        # Two doublings of the micro-batch, up or down.
        ({"micro_batch_size": 8}, 2.0),
        ({"micro_batch_size": 1}, 1.0),
        ({"loss_kernel": LossKernel.FUSED}, 0.5),
        # All layers checkpointed are a whole step from none, some layers half of one.
        ({"gradient_checkpointing": False}, 1.0),
        ({"checkpointed_layers": 4}, 0.5),
        # Every other setting counts two.
        ({"world_size": 2}, 2.0),
        ({"world_size": 2, "zero_stage": 3}, 4.0),
    ],
)
def test_distance_counts_doublings_and_other_settings(
    values: dict[str, object], far: float
) -> None:
    """The same both ways."""
    base = changed(ONE, gradient_checkpointing=True, loss_kernel=LossKernel.PLAIN)
    other = changed(base, **values)  # type: ignore[arg-type]
    assert distance(base, other) == distance(other, base) == far


def test_two_numbers_of_checkpointed_layers_are_near_each_other() -> None:
    """The search tries neighbours."""
    some, more = (changed(ONE, checkpointed_layers=number) for number in (4, 6))
    assert distance(some, more) == 0.25


def test_the_nearest_residual_counts_and_equals_are_averaged() -> None:
    """Half and double the micro-batch are as near; something else is farther."""
    half = changed(ONE, micro_batch_size=1)
    far = changed(ONE, world_size=2)
    assert nearest(ONE, [(half, 0.1), (TWO, 0.3), (far, 9.0)]) == (1.0, pytest.approx(0.2))
    assert nearest(ONE, []) == (math.inf, 0.0)


@given(st.floats(0.1, 10), st.floats(0.1, 10))
def test_scaling_multiplies_each_part_by_its_own_factor(work: float, launch: float) -> None:
    """A step that waits for the GPU: what overlaps with nothing goes with the GPU's work."""
    time = StepTime(matrix=4, memory=2, launch=1, optimizer=1, communication=2, offload=3)
    found = scaled(time, work, launch)
    assert (found.matrix, found.memory, found.launch) == (4 * work, 2 * work, launch)
    assert (found.optimizer, found.communication, found.offload) == (work, 2 * work, 3 * work)


def test_without_probes_nothing_is_corrected() -> None:
    """Every factor is one, and the error is that of the rates."""
    found = evaluate(ASKED, ONE)
    none = corrections_of(ASKED, [found], {})
    assert (none.work, none.launch, none.process_bytes) == (1.0, 1.0, 1.0)
    assert none.seconds(ONE, found.time) == found.time
    assert none.margin(ONE, found.time) == PRIOR_ERROR


def test_a_probe_that_took_twice_as_long_doubles_its_neighbours() -> None:
    """One measurement is the median of its kind, and its bytes correct all others."""
    evaluated = [evaluate(ASKED, hardware) for hardware in (ONE, TWO)]
    predicted = probed_time(ASKED, ONE)
    needs = evaluated[0].memory.process_bytes.expected
    seen = Measured(outcome=Outcome.OK, step_seconds=2 * predicted.seconds, process_bytes=2 * needs)
    found = corrections_of(ASKED, evaluated, {ONE: seen})
    factor = found.launch if predicted.bound_by_launch else found.work
    assert factor == pytest.approx(2.0)
    assert found.process_bytes == pytest.approx(2.0)
    assert found.kinds == {predicted.bound_by_launch}
    assert time_ratio(ASKED, ONE, seen) == pytest.approx(2.0)
    corrected = found.seconds(ONE, predicted)
    assert corrected.seconds == pytest.approx(2 * predicted.seconds, rel=0.2)


def test_a_probe_that_was_not_timed_has_no_ratio() -> None:
    """It may have run out of memory."""
    assert time_ratio(ASKED, ONE, Measured(outcome=Outcome.OOM)) is None


def test_budgets_are_as_far_apart_as_their_doublings() -> None:
    """Twice the budget is one doubling; a padded layout is two away, whatever its size."""
    small, large = (
        from_flat(HardwareSettings, gradient_accumulation_steps=16, token_budget=budget)
        for budget in (2048, 4096)
    )
    assert distance(small, large) == 1.0
    assert distance(small, ONE) == distance(ONE, large) == 2.0


def test_a_packed_probe_is_foretold_as_passes_of_usual_rows() -> None:
    """Rows of 1,024 in passes of 4,096: less attention than in one row as long as the pass."""
    packed = from_flat(HardwareSettings, gradient_accumulation_steps=16, token_budget=4096)
    as_rows = probed_time(ASKED, packed)
    one_row = step_time(
        ASKED.architecture,
        training_settings(ASKED.learning, changed(packed, gradient_accumulation_steps=4), 4096),
        rates_for(ASKED, packed),
    )
    assert as_rows.matrix < one_row.matrix
    assert as_rows.launch == one_row.launch
