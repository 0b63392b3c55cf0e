"""Peaks of memory of this process."""

from __future__ import annotations

import sys

import pytest
import torch

from tsplanner.training.memory import (
    MemoryMeter,
    Unmetered,
    driver_bytes,
    limit_allocator,
    peak_resident_bytes,
    pinned_bytes,
    reset_resident_peak,
    resident_bytes,
)

MIB = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's peak is read from /proc")
def test_a_peak_is_remembered_until_it_is_reset() -> None:
    """64 MiB that come and go raise the peak by most of them."""
    reset_resident_peak()
    before = peak_resident_bytes()
    held = bytearray(b"x") * (64 * MIB)
    del held
    assert peak_resident_bytes() - before > 48 * MIB
    assert peak_resident_bytes() >= resident_bytes() > 0


def test_on_the_cpu_a_process_takes_what_is_resident() -> None:
    """There is no allocator to ask."""
    meter = MemoryMeter(cuda=False)
    meter.end_of_load()
    found = meter.peaks()
    assert (found.allocated, found.reserved, found.pinned, found.retries) == (None, None, None, 0)
    assert found.process == found.host
    assert found.host is not None
    assert found.host >= meter.baseline_bytes


def test_one_of_several_trials_has_no_peaks_of_its_own() -> None:
    """Its share cannot be told."""
    found = Unmetered().peaks()
    assert (found.allocated, found.process, found.host) == (None, None, None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a machine without a GPU")
def test_without_a_gpu_nothing_is_asked_of_a_driver() -> None:
    """And nothing fails."""
    assert driver_bytes() == (None, None)
    assert pinned_bytes() in (None, 0)
    limit_allocator(torch.device("cpu"), 1)
    found = MemoryMeter(cuda=True).peaks()
    assert (found.allocated, found.process) == (None, None)
