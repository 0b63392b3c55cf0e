"""The cards that CUDA would see."""

from __future__ import annotations

import pytest

from tests.support.fake_nvml import SLICED, FakeCard, FakeNvml
from tsplanner.hardware.nvml import read_devices, read_nvml
from tsplanner.hardware.visible import visible_entries

GIB = 1024**3
LISTS = (
    "0,1",
    " 1 , 0 ",
    "0,0",
    "0,1,-1,2",
    "+1,2",
    "-1",
    "",
    " ",
    ",",
    "1gpu2,2ampere",
    "0,GPU-aaaa",
    "GPU-aaaa,0",
    "GPU-aaaa,MIG-1",
    "GPU-aaaa,GPU-aaaa",
    "GPU-aaaa, GPU-bbbb",
    "MIG-1,MIG-2,GPU-a",
    "MIG-1,MIG-1",
    " GPU-aaaa",
    "gpu-aaaa",
    "none",
    "0x1",
    "1.5,2",
)

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
        ("gpu-cc", []),
        ("GPU-a", []),
        ("GPU-cccc,GPU-aaaa", ["GPU-cccc", "GPU-aaaa"]),
        ("GPU-cccc,1", ["GPU-cccc"]),
        ("GPU-aaaa,GPU-aaaa", []),
        ("GPU-aa,GPU-aaaa", []),
        ("1,GPU-cccc", ["GPU-abcd"]),
        ("1,-1,2", ["GPU-abcd"]),
        ("+2, 0 ,junk", ["GPU-cccc", "GPU-aaaa"]),
        ("1gpu2,2ampere", ["GPU-abcd", "GPU-cccc"]),
        ("0,9,1", ["GPU-aaaa"]),
        ("0, 1", ["GPU-aaaa", "GPU-abcd"]),
        ("0,0", []),
        ("0,1,0", []),
        (",0", []),
        ("99999999999999999999", []),
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


@pytest.mark.parametrize("visible", LISTS)
def test_a_list_means_what_torch_takes_it_for(
    visible: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planner and the worker see the same cards: entries are those of torch's own parser."""
    torch = pytest.importorskip("torch")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_entries(visible) == torch.cuda._parse_visible_devices()
