"""What is kept of a probe, and for which machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from memory_models.settings import from_flat
from tests.support import tiny
from tsplanner.planner.gather.probe_points import load_calibration, store
from tsplanner.probe.calibration import probe_point, probed_step_time
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
