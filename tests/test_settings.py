"""Where configs and measurements lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from tsplanner.settings import calibration_file, configs_folder, state_folder


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
