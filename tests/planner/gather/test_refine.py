"""Earlier probes correct the next plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from memory_models.calibration import DEFAULT
from memory_models.settings import FinetuningType, from_flat
from tests.support import tiny
from tsplanner.planner.gather.probe_points import PlanFeatures
from tsplanner.planner.gather.refine import most_similar, refined
from tsplanner.probe.calibration import probe_point
from tsplanner.throughput.rates import MEASURED
from tsplanner.training.job import JobKind, Status
from tsplanner.training.record import Record

RECORD = from_flat(
    Record,
    status=Status.OK,
    kind=JobKind.PROBE,
    process_bytes=500,
    step_seconds=(9.0, 8.0, 1.0, 3.0, 2.0),
    warmup_steps=2,
)


def test_steps_that_wait_for_the_host_do_not_correct_those_that_wait_for_the_gpu(
    tmp_path: Path,
) -> None:
    """Each kind of step has a factor of its own: 2.0 / 1.0 and 2.0 / 0.5."""
    base = probe_point(tiny.plan(tmp_path), RECORD)
    work = replace(base, predicted=replace(base.predicted, step_seconds=1.0), bound_by_launch=False)
    launch = replace(
        base, predicted=replace(base.predicted, step_seconds=0.5), bound_by_launch=True
    )
    features = PlanFeatures(model="tiny", finetuning_type=FinetuningType.LORA)
    _, efficiency = refined([work, launch], features, DEFAULT, MEASURED)
    assert (efficiency.work_factor, efficiency.launch_factor) == (2.0, 4.0)
    _, efficiency = refined([launch], features, DEFAULT, MEASURED)
    assert (efficiency.work_factor, efficiency.launch_factor) == (1.0, 4.0)


def test_points_of_the_same_model_come_first(tmp_path: Path) -> None:
    """Another model's probe is used only while this one has none."""
    base = probe_point(tiny.plan(tmp_path), RECORD)
    other = replace(base, model="other", measured=replace(base.measured, step_seconds=5.0))
    features = PlanFeatures(model="tiny", finetuning_type=FinetuningType.LORA)
    assert most_similar([other, base], features) == [base]
    assert most_similar([other], features) == [other]
