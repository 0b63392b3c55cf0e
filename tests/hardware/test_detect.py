"""From flags to the machine that is planned for."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tsplanner.errors import UsageError
from tsplanner.hardware import detect
from tsplanner.hardware.describe import parse_gpus
from tsplanner.hardware.detect import detect_machine, found_packages, machine_for
from tsplanner.hardware.nvml import NvmlReading

GIB = 1024**3


def test_a_machine_without_a_gpu_is_a_machine(tmp_path: Path) -> None:
    """No driver is no error: training can run on the CPU."""
    machine = detect_machine(tmp_path, NvmlReading(reason="no driver"))
    assert machine.devices == ()
    assert machine.link is None
    assert machine.detected
    assert machine.name.startswith("CPU with ")
    assert machine.host.disk_free_bytes


def test_a_detected_machine_is_named_by_its_cards(tmp_path: Path) -> None:
    """The name says what a person would: how many of what."""
    reading = NvmlReading(devices=parse_gpus("2x RTX 3090 + H200"))
    assert detect_machine(tmp_path, reading).name == "2x RTX 3090 + 1x H200"


def test_described_gpus_take_nothing_of_this_computer(tmp_path: Path) -> None:
    """Cards of 2 x 22 GiB stand in a machine with as much RAM, by a rule, and eight cores."""
    machine = machine_for("2x RTX 2080 Ti 22GiB", None, tmp_path)
    assert len(machine.devices) == 2
    assert not machine.detected
    assert machine.host.total_bytes == 44 * GIB
    assert machine.host.available_bytes == 42 * GIB
    assert machine.host.assumed
    assert machine.host.cpu_count == 8
    assert machine.host.disk_free_bytes is None
    assert machine.packages == ("bitsandbytes", "deepspeed")


@pytest.mark.parametrize(
    ("gpus", "gib"),
    [("8x A100 80GB", 1280), ("2x H200", 564), ("4x RTX 3090", 96), ("T4", 16), ("cpu", 16)],
)
def test_assumed_ram_follows_the_memory_of_the_gpus(gpus: str, gib: int) -> None:
    """As much as all cards have, twice as much for boards with NVLink, and never below 16 GiB."""
    assert machine_for(gpus, None).host.total_bytes == gib * GIB


def test_ram_that_is_stated_replaces_what_is_known(tmp_path: Path) -> None:
    """Of described cards, of a machine file and of this machine; cores and disk stay."""
    for words in (("2x RTX 3090", None), (None, "1x-h200-141gib"), (None, None)):
        known = machine_for(*words, tmp_path)
        stated = machine_for(*words, tmp_path, 1024 * GIB)
        assert (stated.host.total_bytes, stated.host.assumed) == (1024 * GIB, False)
        assert stated.host.available_bytes == 1022 * GIB
        assert stated.host.cpu_count == known.host.cpu_count
        assert (stated.host.disk_free_bytes is None) == (known.host.disk_free_bytes is None)
        assert stated.detected is known.detected


def test_machine_file_and_gpus_together_are_refused(tmp_path: Path) -> None:
    """Two descriptions of one thing can only disagree."""
    with pytest.raises(UsageError, match="give one of them"):
        machine_for("H200", "1x-h200-141gib", tmp_path)
    assert machine_for(None, "1x-h200-141gib", tmp_path).name == "1x H200"


def test_detection_imports_no_training_library() -> None:
    """Packages are looked for without importing them, so planning starts at once."""
    code = (
        "import sys; from tsplanner.hardware.detect import detect_machine; detect_machine();"
        "heavy = {'torch', 'bitsandbytes', 'deepspeed', 'numpy', 'yaml', 'rich'};"
        "raise SystemExit(bool(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_packages_are_told_by_module_name() -> None:
    """Only the optional ones count, in a fixed order."""
    known = ("bitsandbytes", "deepspeed", "flash_attn", "flex_attention", "liger_kernel", "triton")
    assert found_packages() == tuple(name for name in known if name in found_packages())


@pytest.mark.parametrize(
    ("torch", "triton", "there"),
    [((2, 6), True, True), ((2, 5, 1), True, False), ((2, 11), False, False), ((), True, False)],
)
def test_flex_attention_counts_where_torch_and_triton_have_it(
    monkeypatch: pytest.MonkeyPatch, torch: tuple[int, ...], *, triton: bool, there: bool
) -> None:
    """Its masks by blocks know all lengths from torch 2.6."""
    monkeypatch.setattr(detect, "is_found", lambda name: name == "triton")
    monkeypatch.setattr(detect, "compiles_triton", lambda: triton)
    monkeypatch.setattr(detect, "installed_version", lambda _: torch)
    assert ("flex_attention" in found_packages()) is there


def test_detection_takes_milliseconds(tmp_path: Path) -> None:
    """Once imported, looking at a machine without a GPU is not noticed."""
    reading = NvmlReading(reason="no driver")
    detect_machine(tmp_path, reading)
    start = time.perf_counter()
    detect_machine(tmp_path, reading)
    assert time.perf_counter() - start < 0.06
