"""Rates of links that were measured here, as they are kept."""

from __future__ import annotations

from pathlib import Path

from tests.probe.test_host_link import COPIES, here
from tsplanner.hardware.host_copies import copies_of, disk_of, keep, read_kept, with_copies


def test_a_file_that_was_cut_or_edited_is_no_measurement(tmp_path: Path) -> None:
    """It is written anew by the next one."""
    path = tmp_path / "host_links.json"
    for text in ("", "[1", "[]", '{"devices": 3}'):
        path.write_text(text)
        assert not with_copies((here(),), path)[0].host_copies
    keep({"GPU-1": COPIES}, {}, path)
    keep({"GPU-2": COPIES}, {"7": 1e9}, path)
    assert sorted(read_kept(path)["devices"]) == ["GPU-1", "GPU-2"]
    assert copies_of({"to_device": -1, "to_host": 1, "shared": 1}) is None
    assert disk_of(tmp_path / "absent") is None
