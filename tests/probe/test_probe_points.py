"""What is kept of a probe, and for whom."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from memory_models.calibration import DEFAULT
from memory_models.settings import FinetuningType
from tests.support import tiny
from tsplanner.planner.gather.probe_points import Like, load_calibration, store
from tsplanner.planner.gather.refine import most_like, refined
from tsplanner.probe.calibration import probe_point, probed_step_time
from tsplanner.throughput.rates import MEASURED
from tsplanner.training.job import JobKind, Record, Status

RECORD = Record(
    status=Status.OK,
    kind=JobKind.PROBE,
    process_bytes=500,
    step_seconds=(9.0, 8.0, 1.0, 3.0, 2.0),
    warmup_steps=2,
)


def test_stored_point_comes_back_for_its_machine_only(tmp_path: Path) -> None:
    """A CPU's figures serve plans on that machine, not on another."""
    plan = tiny.plan(tmp_path)
    path = tmp_path / "state" / "calibration.jsonl"
    point = probe_point(plan, RECORD, now=1.0)
    store(point, path)
    store(point, path)
    assert load_calibration(plan.machine, path) == [point, point]
    assert load_calibration(replace(plan.machine, name="another"), path) == []
    assert point.measured.process_bytes == 500
    assert point.predicted.step_seconds == probed_step_time(plan).seconds


def test_steps_that_wait_for_the_host_do_not_correct_those_that_wait_for_the_gpu(
    tmp_path: Path,
) -> None:
    """Each kind of step has a factor of its own: 2.0 / 1.0 and 2.0 / 0.5."""
    base = probe_point(tiny.plan(tmp_path), RECORD)
    work = replace(base, predicted=replace(base.predicted, step_seconds=1.0), bound_by_launch=False)
    launch = replace(
        base, predicted=replace(base.predicted, step_seconds=0.5), bound_by_launch=True
    )
    like = Like(model="tiny", finetuning_type=FinetuningType.LORA)
    _, efficiency = refined([work, launch], like, DEFAULT, MEASURED)
    assert (efficiency.work_factor, efficiency.launch_factor) == (2.0, 4.0)
    _, efficiency = refined([launch], like, DEFAULT, MEASURED)
    assert (efficiency.work_factor, efficiency.launch_factor) == (1.0, 4.0)


def test_points_of_the_same_model_come_first(tmp_path: Path) -> None:
    """Another model's probe is used only while this one has none."""
    base = probe_point(tiny.plan(tmp_path), RECORD)
    other = replace(base, model="other", measured=replace(base.measured, step_seconds=5.0))
    like = Like(model="tiny", finetuning_type=FinetuningType.LORA)
    assert most_like([other, base], like) == [base]
    assert most_like([other], like) == [other]


def test_unreadable_lines_are_passed_over(tmp_path: Path) -> None:
    """A line cut off by a crash costs only itself."""
    plan = tiny.plan(tmp_path)
    path = tmp_path / "calibration.jsonl"
    store(probe_point(plan, RECORD), path)
    with path.open("a") as file:
        file.write('{"device_name": "cpu"}\n{"device_na')
    assert len(load_calibration(plan.machine, path)) == 1


def test_no_file_means_no_points(tmp_path: Path) -> None:
    """A machine that was never probed has no calibration."""
    assert load_calibration(tiny.machine(), tmp_path / "absent.jsonl") == []


def test_state_folder_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$TSPLANNER_STATE says where points are kept."""
    monkeypatch.setenv("TSPLANNER_STATE", str(tmp_path / "here"))
    stored = store(probe_point(tiny.plan(tmp_path), RECORD))
    assert stored == tmp_path / "here" / "calibration.jsonl"
    assert stored.is_file()
