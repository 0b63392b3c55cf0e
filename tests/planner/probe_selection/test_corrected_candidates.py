"""Candidates after some probes: as they ran, or corrected."""

from __future__ import annotations

import pytest

from memory_models.result import Interval
from tests.support.toy_request import TURING, request
from tsplanner.planner.plan import Verdict
from tsplanner.planner.probe_selection.corrected_candidates import corrected, fitted
from tsplanner.planner.probe_selection.optimistic import (
    Measured,
    Outcome,
)
from tsplanner.planner.probe_selection.step_corrections import probed_time
from tsplanner.planner.rank import evaluate_all


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
