"""How a worker hears that it is to end."""

from __future__ import annotations

from pathlib import Path

from tsplanner.training.worker.stop_switch import StopSwitch


def test_a_stop_file_or_a_signal_ends_a_run(tmp_path: Path) -> None:
    """Nothing stops it before."""
    stop = StopSwitch()
    assert not stop()
    stop.file = tmp_path / "stop"
    assert not stop()
    assert not stop.asked()
    stop.file.touch()
    assert stop.asked()
    assert stop()
    other = StopSwitch()
    other._on_signal(15, None)
    assert other()
    assert other.agreed
