"""The plan that is made of the best candidate."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import DecoderKernels, from_flat
from tests.support.toy_request import HOPPER, request
from tsplanner.planner.evaluate import evaluate
from tsplanner.planner.finished import finish
from tsplanner.planner.settings import HardwareSettings
from tsplanner.probe.calibration import probe_point
from tsplanner.throughput.rates import MEASURED
from tsplanner.training.job import JobKind, Status
from tsplanner.training.record import Record


def test_a_finished_plan_says_what_it_assumes() -> None:
    """Once each: bare presets have no weights, and a described machine was not looked at."""
    asked = request("qwen2.5-0.5b", HOPPER)
    hardware = from_flat(HardwareSettings, gradient_accumulation_steps=16)
    plan = finish(asked, evaluate(asked, hardware))
    assert len(set(plan.assumptions)) == len(plan.assumptions)
    # It is no assumption that needs a line of its own: every view says it, and louder.
    assert plan.model.without_weights == "there are no weights beside config.json"
    assert not any("weights" in note for note in plan.assumptions)
    assert "the machine is described, not looked at" in plan.assumptions
    assert plan.hardware == hardware
    assert plan.alternatives == ()


def test_a_plan_after_a_probe_compiles_no_more() -> None:
    """Its run is 0.8 s shorter than that of a plan whose only other probe was on another machine.

    Steps and bytes were as foretold, so that nothing else changes.
    """
    asked = request("qwen2.5-7b", HOPPER)
    hardware = from_flat(
        HardwareSettings, gradient_accumulation_steps=16, decoder_kernels=DecoderKernels.COMPILED
    )
    record = from_flat(Record, status=Status.OK, kind=JobKind.PROBE)
    point = probe_point(finish(asked, evaluate(asked, hardware)), record)
    point = replace(point, measured=point.predicted)
    here, elsewhere = (
        finish(later, evaluate(later, hardware)).time.total_seconds
        for name in (point.host_name, "another machine")
        for later in (replace(asked, probes=(replace(point, host_name=name),)),)
    )
    assert elsewhere - here == pytest.approx(MEASURED.host.compile_seconds)
