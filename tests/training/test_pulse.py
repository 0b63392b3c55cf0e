"""Signs of life of a worker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tsplanner.folders.leftovers import remove_leftovers
from tsplanner.training import pulse
from tsplanner.training.pulse import Beat, Phase, Pulse, pulse_files, read_beat


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
    for text in ("4711 2", "4711 2 dance"):
        (tmp_path / ".pulse.1").write_text(text)
        assert read_beat(tmp_path) is None


def test_what_a_killed_worker_leaves_is_found_by_its_name(tmp_path: Path) -> None:
    """The name is that of a temporary file, with the number of the process."""
    code = (
        "import os, pathlib, sys\n"
        "from tsplanner.training.pulse import Phase, Pulse\n"
        "Pulse(pathlib.Path(sys.argv[1])).enter(Phase.STEP)\nos.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert pulse_files(tmp_path) == list(tmp_path.iterdir())
    assert len(remove_leftovers(tmp_path)) == 1
    assert pulse_files(tmp_path) == []
