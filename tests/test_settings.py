"""Where the configs and the state of this machine lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from memory_models.settings import from_flat
from tests.support import tiny
from tsplanner.planner.gather.probe_points import store
from tsplanner.probe.calibration import probe_point
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


def test_state_folder_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$TSPLANNER_STATE says where points are kept."""
    monkeypatch.setenv("TSPLANNER_STATE", str(tmp_path / "here"))
    stored = store(probe_point(tiny.plan(tmp_path), RECORD))
    assert stored == tmp_path / "here" / "calibration.jsonl"
    assert stored.is_file()
