"""Candidates after some probes: as they ran, or corrected."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_models.result import Component, Interval
from memory_models.settings import changed, from_flat
from tests.support.rig import TURING
from tests.support.toy_request import HOPPER, request
from tsplanner.planner.evaluate import evaluate
from tsplanner.planner.explain.reasons import Reason
from tsplanner.planner.plan import Verdict
from tsplanner.planner.probe_selection.corrected_candidates import (
    PROBE_REASONS,
    corrected,
    fitted,
    measured_interval,
    without_batch,
)
from tsplanner.planner.probe_selection.step_corrections import Measured, Outcome, probed_time
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.waves import evaluate_all


def test_a_measured_candidate_has_its_own_seconds_and_bytes() -> None:
    """Twice the predicted time halves its speed, and its bytes are those that were seen."""
    asked = request("qwen2.5-0.5b", TURING)
    evaluated, _ = evaluate_all(asked)
    found = next(each for each in evaluated if each.verdict is Verdict.FITS)
    seconds = 2 * probed_time(asked, found.hardware).seconds
    seen = Measured(outcome=Outcome.OK, step_seconds=seconds, process_bytes=10**9)
    (now,) = corrected(asked, [found], {found.hardware: seen})
    assert now.samples_per_second == pytest.approx(found.samples_per_second / 2)
    assert now.memory.process_bytes == Interval(expected=10**9, upper=1_030_000_000)
    assert sum(part.bytes for part in now.memory.components) == 10**9


def test_without_probes_candidates_are_as_predicted() -> None:
    """No measurement, no correction, but nobody is called sure who was not."""
    asked = request("qwen2.5-0.5b", TURING)
    evaluated, _ = evaluate_all(asked)
    assert corrected(asked, evaluated, {}) == evaluated
    assert fitted((), 5) == ()


SMALL = from_flat(HardwareSettings, micro_batch_size=1, gradient_accumulation_steps=16)
MIDDLE = changed(SMALL, micro_batch_size=2, gradient_accumulation_steps=8)
LARGE = changed(SMALL, micro_batch_size=4, gradient_accumulation_steps=4)
ASKED = request("qwen2.5-0.5b", HOPPER)


def reasons_after(measured: dict[HardwareSettings, Measured]) -> list[Reason | None]:
    """Why the small, the middle and the large candidate are not the plan after these probes."""
    evaluated = [evaluate(ASKED, hardware) for hardware in (SMALL, MIDDLE, LARGE)]
    now = corrected(ASKED, evaluated, measured)
    return [None if each.explanation is None else each.explanation.reason for each in now]


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Outcome.OOM, Reason.OUT_OF_MEMORY),
        (Outcome.HOST_OOM, Reason.OUT_OF_HOST_MEMORY),
        (Outcome.FAILED, Reason.PROBE_FAILED),
    ],
)
def test_a_probe_that_did_not_run_says_how_it_ended(outcome: Outcome, reason: Reason) -> None:
    """Every outcome but a run has a reason of its own."""
    assert reasons_after({LARGE: Measured(outcome=outcome)})[2] is reason
    assert set(PROBE_REASONS) == set(Outcome) - {Outcome.OK}


def test_what_needs_more_than_one_that_ran_out_is_ruled_out() -> None:
    """The larger micro-batch goes with it, the smaller one stays."""
    assert reasons_after({MIDDLE: Measured(outcome=Outcome.OOM)}) == [
        None,
        Reason.OUT_OF_MEMORY,
        Reason.LARGER_THAN_FAILED,
    ]


def test_two_failures_of_a_kind_rule_out_the_third() -> None:
    """One may be chance; after two the settings that they share are at fault."""
    failed = Measured(outcome=Outcome.FAILED)
    assert reasons_after({SMALL: failed})[2] is None
    found = reasons_after({SMALL: failed, MIDDLE: failed})
    assert found[2] is Reason.SIMILAR_FAILED


def test_candidates_of_a_kind_differ_in_batch_and_checkpoints_alone() -> None:
    """Another kernel is another kind."""
    checkpoints = changed(LARGE, gradient_checkpointing=False)
    assert without_batch(SMALL) == without_batch(LARGE) == without_batch(checkpoints)
    assert without_batch(changed(SMALL, zero_stage=2)) != without_batch(SMALL)


def test_a_measured_bound_has_a_margin_for_batches_of_other_lengths() -> None:
    """Three hundredths above the measurement, rounded up to a whole byte."""
    assert measured_interval(1000) == Interval(expected=1000, upper=1030)
    assert measured_interval(None) is None


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=9), st.integers(1, 10**10))
def test_parts_fill_the_measured_bytes_exactly(sizes: list[int], total: int) -> None:
    """No byte is lost to rounding."""
    parts = tuple(Component(name=f"part {number}", bytes=size) for number, size in enumerate(sizes))
    found = fitted(parts, total)
    assert sum(part.bytes for part in found) == total
    assert [part.name for part in found] == [part.name for part in parts]
