"""Where configs and measurements lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from memory_models.settings import from_flat
from tests.support import tiny
from tsplanner.planner.gather.probe_points import store
from tsplanner.probe.calibration import probe_point
from tsplanner.settings import calibration_file, configs_folder, state_folder
from tsplanner.training.job import JobKind, Status
from tsplanner.training.record import Record


def test_the_configs_that_ship_are_found() -> None:
    """At the top of a checkout, or inside a wheel."""
    assert (configs_folder() / "models").is_dir()
    assert (configs_folder() / "machines").is_dir()


@pytest.mark.skipif("sys.platform == 'win32'", reason="the user's folder has another name there")
def test_state_lies_where_the_user_says_or_where_the_system_keeps_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """$TSPLANNER_STATE, then $XDG_STATE_HOME, then the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TSPLANNER_STATE", "~/mine")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert state_folder() == tmp_path / "mine"
    monkeypatch.delenv("TSPLANNER_STATE")
    assert state_folder() == tmp_path / "xdg" / "tsplanner"
    monkeypatch.delenv("XDG_STATE_HOME")
    assert state_folder() == tmp_path / ".local" / "state" / "tsplanner"
    assert calibration_file() == state_folder() / "calibration.jsonl"


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
