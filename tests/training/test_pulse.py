"""Signs of life of a worker."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tsplanner.training import pulse
from tsplanner.training.pulse import Beat, Phase, Pulse, read_beat


def test_a_beat_says_who_how_often_and_at_what(tmp_path: Path) -> None:
    """A phase inside another ends with a return to it."""
    beats = Pulse(tmp_path)
    assert read_beat(tmp_path) is None
    beats.enter(Phase.STEP)
    assert read_beat(tmp_path) == Beat(pid=os.getpid(), count=1, phase=Phase.STEP)
    with beats.during(Phase.EVALUATE):
        assert read_beat(tmp_path) == Beat(pid=os.getpid(), count=2, phase=Phase.EVALUATE)
    assert read_beat(tmp_path) == Beat(pid=os.getpid(), count=3, phase=Phase.STEP)


def test_beats_of_fast_steps_are_not_all_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two a second are enough; without a pause between them all are."""
    beats = Pulse(tmp_path)
    for _ in range(1000):
        beats.beat()
    found = read_beat(tmp_path)
    assert found is not None
    assert found.count < 10
    monkeypatch.setattr(pulse, "BETWEEN_SECONDS", 0.0)
    for _ in range(10):
        beats.beat()
    later = read_beat(tmp_path)
    assert later is not None
    assert later.count == found.count + 10


def test_only_the_first_process_writes_and_no_disk_ends_a_step(tmp_path: Path) -> None:
    """Half a file and a folder that is gone are no beat."""
    Pulse(tmp_path, writes=False).enter(Phase.STEP)
    assert list(tmp_path.iterdir()) == []
    Pulse(tmp_path / "gone").enter(Phase.STEP)
    (tmp_path / ".pulse").write_text("4711 2")
    assert read_beat(tmp_path) is None
    (tmp_path / ".pulse").write_text("4711 2 dance")
    assert read_beat(tmp_path) is None
