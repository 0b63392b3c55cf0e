"""What is kept of a probe, and for which machine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from memory_models.settings import from_flat
from tests.support import tiny
from tsplanner.planner.gather.probe_points import (
    installed_versions,
    load_calibration,
    read_points,
    store,
    why_aged,
)
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


def test_a_point_from_before_inputs_were_counted_is_of_the_same_kind(tmp_path: Path) -> None:
    """Inputs that waited on the host are those of all layers but none."""
    plan = tiny.with_hardware(
        tiny.plan(tmp_path), streamed_layers=2, inputs_on_device=0, gradient_checkpointing=True
    )
    point, path = probe_point(plan, RECORD), tmp_path / "calibration.jsonl"
    store(point, path)
    row = json.loads(path.read_text())
    del row["kind"]["streaming"]["inputs_on_device"]
    row["kind"]["streaming"]["host_checkpoints"] = True
    path.write_text(json.dumps(row) + "\n")
    assert read_points(path) == ([point], 0)


def test_lines_of_older_versions_are_counted_and_not_used(tmp_path: Path) -> None:
    """They did not say what kernels they were measured on."""
    path = tmp_path / "calibration.jsonl"
    path.write_text('{"device_name": "cpu", "finetuning_type": "lora", "model": "tiny"}\n')
    store(probe_point(tiny.plan(tmp_path), RECORD), path)
    points, unread = read_points(path)
    assert (len(points), unread) == (1, 1)


@pytest.mark.parametrize(
    ("days", "versions", "says"),
    [
        (90, {"torch": "2.13.0"}, None),
        (91, {"torch": "2.13.0"}, "older than 90 days"),
        (1, {"torch": "2.11.0"}, "made with torch 2.11.0, and 2.13.0 is here"),
        (1, {}, "made with torch of an unknown version, and 2.13.0 is here"),
    ],
)
def test_a_point_ages_by_days_and_by_versions(
    tmp_path: Path, days: int, versions: dict[str, str], says: str | None
) -> None:
    """A package that is not here decides nothing."""
    point = replace(probe_point(tiny.plan(tmp_path), RECORD, now=0.0), versions=versions)
    assert why_aged(point, {"torch": "2.13.0"}, days * 86_400) == says
    assert why_aged(point, {}, 0.0) is None


def test_the_versions_here_are_those_of_the_packages_that_decide() -> None:
    """The tests run with the training libraries or without."""
    found = installed_versions()
    assert set(found) <= {"tsplanner", "torch", "transformers", "peft"}
    assert found["tsplanner"]


def test_no_file_means_no_points(tmp_path: Path) -> None:
    """A machine that was never probed has no calibration."""
    assert load_calibration(tiny.machine(), tmp_path / "absent.jsonl") == []


def test_state_folder_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$TSPLANNER_STATE says where points are kept."""
    monkeypatch.setenv("TSPLANNER_STATE", str(tmp_path / "here"))
    stored = store(probe_point(tiny.plan(tmp_path), RECORD))
    assert stored == tmp_path / "here" / "calibration.jsonl"
    assert stored.is_file()
