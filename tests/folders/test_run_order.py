"""The newest run folder, and the newest that is free."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tsplanner.folders import owner
from tsplanner.folders.owner import OWNER_FILE, RunFolder
from tsplanner.folders.run_order import newest_folders, newest_idle


def test_a_run_at_work_is_passed_over_while_another_is_free(tmp_path: Path) -> None:
    """The older run is free; if both are at work, the newest is named; no folder has none."""
    older, newer = (tmp_path / "m" / "lora" / name for name in ("1", "2"))
    with RunFolder(older, "train", saves=tmp_path):
        pass
    with RunFolder(newer, "train", saves=tmp_path):
        assert newest_idle([older, newer]) == older
        with RunFolder(older, "train", saves=tmp_path):
            assert newest_idle([older, newer]) == older
    assert newest_idle([older, newer]) == older
    assert newest_idle([]) is None


def test_heartbeats_do_not_change_when_a_run_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest run is the one that was begun or resumed last, however long others work."""
    monkeypatch.setattr(owner, "HEARTBEAT_SECONDS", 0.01)
    first, second = (tmp_path / "m" / "lora" / name for name in ("1", "2"))
    with (
        RunFolder(first, "train", saves=tmp_path) as claimed,
        RunFolder(second, "train", saves=tmp_path),
    ):
        deadline = time.monotonic() + 20
        while claimed.owner.heartbeat < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert claimed.owner.heartbeat >= 3
        assert newest_folders([first, second]) == [second, first]
    os.utime(second / OWNER_FILE, (4_000_000_000, 4_000_000_000))
    with RunFolder(first, "train", saves=tmp_path):
        assert newest_folders([second, first]) == [first, second]
