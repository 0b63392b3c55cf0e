"""Links to the host are measured in a child, kept, and read by later plans."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from memory_models.device import Device, HostCopies
from tests.support.rig import TURING
from tests.support.toy_request import HOPPER
from tsplanner.hardware.host_copies import disk_rate, with_copies
from tsplanner.probe.host_link import MeasuredLinks, link_words, measure_links

COPIES = HostCopies(to_device=25e9, to_host=24e9, shared=12.5e9)
PROGRAM = """
import json, sys
open(sys.argv[1], "w").write(json.dumps({
    "devices": [{"uuid": "GPU-1", "to_device": 25e9, "to_host": 24e9, "shared": 12.5e9},
                {"uuid": "GPU-2", "to_device": "fast"}],
    "disk": 3e9,
}))
"""


def here(name: str = "GPU-1") -> Device:
    """A card by its uuid."""
    return replace(TURING, uuid=name)


def test_what_a_child_measures_is_kept_for_later_plans(tmp_path: Path) -> None:
    """By the card's uuid; answers that are no rates are left out."""
    file = tmp_path / "weights"
    file.write_bytes(b"1")
    found = measure_links([file], (sys.executable, "-c", PROGRAM))
    assert found.devices == (("GPU-1", COPIES),)
    one, other = with_copies((here(), here("GPU-3")))
    assert one.host_copies == COPIES
    assert other.host_copies is None
    assert disk_rate(tmp_path) == 3e9
    assert disk_rate(None) is None


@pytest.mark.parametrize("program", ["raise SystemExit(1)", "import os; os.abort()"])
def test_a_child_that_fails_measures_nothing(program: str) -> None:
    """Plans go by the datasheet then."""
    assert measure_links((), (sys.executable, "-c", program)) == MeasuredLinks()


def test_it_is_told_what_there_is_to_measure() -> None:
    """Nothing without a GPU; with two of them also what is left while both copy."""
    assert link_words((), MeasuredLinks()) == "no GPU: there is no link to measure"
    both = (here(), here("GPU-2"))
    said = link_words(both, MeasuredLinks(devices=(("GPU-1", COPIES),)))
    assert "25.0 of " in said
    assert "GB/s to the GPU, 24.0 back, 12.5 while all copy; " in said
    assert said.endswith(f"{TURING.name}: not measured")
    assert "while all copy" not in link_words((HOPPER,), MeasuredLinks())
