"""The program that measures links and disks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from tsplanner.training.streaming import link_speed  # noqa: E402


def test_a_machine_without_a_gpu_measures_its_disk_alone(tmp_path: Path) -> None:
    """No device, and a rate at which 4 MiB came."""
    (tmp_path / "weights").write_bytes(bytes(2**22))
    out = tmp_path / "rates.json"
    link_speed.main([str(out), str(tmp_path / "weights")])
    found = json.loads(out.read_text())
    assert found["devices"] == []
    assert found["disk"] > 1e6
    assert link_speed.read_rate([]) is None


def test_the_rate_of_several_copies_is_that_of_each() -> None:
    """Eight copies of 1 MiB into each of two buffers: more than 10 MB/s on any machine."""
    pairs = [(torch.empty(2**20), torch.ones(2**20)) for _ in range(2)]
    assert link_speed.rate_of(pairs) > 1e7
    assert all(float(into.mean()) == 1 for into, _ in pairs)
