"""The cards that CUDA would see."""

from __future__ import annotations

import pytest

from tests.support.fake_nvml import SLICED, FakeCard, FakeNvml
from tsplanner.hardware.nvml import read_devices, read_nvml

GIB = 1024**3


CARDS = (
    FakeCard(uuid="GPU-aaaa", bus="00000000:01:00.0"),
    FakeCard(uuid="GPU-abcd", bus="00000000:02:00.0"),
    FakeCard(uuid="GPU-cccc", bus="00000000:03:00.0"),
)


@pytest.mark.parametrize(
    ("visible", "seen"),
    [
        ("1", ["GPU-abcd"]),
        ("2,0", ["GPU-cccc", "GPU-aaaa"]),
        ("GPU-abcd", ["GPU-abcd"]),
        ("gpu-cc", ["GPU-cccc"]),
        ("GPU-a", []),
        ("0,9,1", ["GPU-aaaa"]),
        ("0, 1", ["GPU-aaaa", "GPU-abcd"]),
        ("0,0", ["GPU-aaaa"]),
        ("", []),
        ("-1", []),
        ("none", []),
    ],
)
def test_cuda_visible_devices_is_honoured(visible: str, seen: list[str]) -> None:
    """Cards that CUDA would not see are not planned for; the list ends at the first wrong entry."""
    reading = read_nvml(FakeNvml(*CARDS), {"CUDA_VISIBLE_DEVICES": visible})
    assert [device.uuid for device in reading.devices] == seen
    assert (reading.reason is not None) == (not seen)


def test_a_sliced_card_stands_for_its_slices() -> None:
    """With MIG on only the slices run anything; each has its share of the card's rates."""
    whole = FakeCard()
    first, second, third = read_devices(FakeNvml(SLICED, whole), {})
    assert (first.mig, second.mig, third.mig) == (True, True, False)
    assert first.uuid == "MIG-1111"
    assert first.total_bytes == 40 * GIB
    assert first.compute_capability == (8, 0)
    assert first.matrix_flops_per_second == pytest.approx(312e12 * 3 / 7)
    assert first.memory_bytes_per_second == pytest.approx(2039e9 / 2)


@pytest.mark.parametrize(
    ("visible", "seen"),
    [("MIG-2222", ["MIG-2222"]), ("GPU-5555", ["MIG-1111", "MIG-2222"]), ("MIG-9", [])],
)
def test_slices_can_be_chosen_by_uuid(visible: str, seen: list[str]) -> None:
    """CUDA_VISIBLE_DEVICES may name a slice, or a card for all of them."""
    devices = read_devices(FakeNvml(SLICED), {"CUDA_VISIBLE_DEVICES": visible})
    assert [device.uuid for device in devices] == seen
