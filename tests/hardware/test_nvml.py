"""Reading GPUs through a stand-in for NVML."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from memory_models.device import LinkType
from tsplanner.hardware.nvml import read_devices, read_nvml

GIB = 1024**3


class NotSupportedError(Exception):
    """What NVML raises for whatever a card does not answer."""


@dataclass
class FakeSlice:
    """One MIG slice."""

    uuid: str
    total: int
    slices: int


@dataclass
class FakeCard:
    """One card: what it would answer; None: not supported."""

    name: str | bytes = "NVIDIA H200"
    uuid: str = "GPU-aaaa"
    bus: str | bytes | None = "00000000:01:00.0"
    total: int | None = 141 * GIB
    free: int = 139 * GIB
    capability: tuple[int, int] | None = (9, 0)
    generations: tuple[int | None, int | None] = (1, 5)
    """PCIe generation now (idle) and at most."""
    lanes: int | None = 16
    running: list[tuple[int, int | None]] | None = field(default_factory=list)
    nvlinks: list[str] | None = None
    """Where each link ends: a bus address, "switch", or "" for one that is down."""
    p2p_nvlink: bool | None = None
    slices: list[FakeSlice] | None = None
    """None: MIG not supported; a list: MIG mode on."""


def known(value: Any) -> Any:
    """A value, or NVML's way of not having one."""
    if value is None:
        raise NotSupportedError("Not Supported")
    return value


class FakeNvml:
    """The part of pynvml that is asked, over fake cards."""

    NVMLError = NotSupportedError

    def __init__(self, *cards: FakeCard, driver: str | None = "580.65.06") -> None:
        self.cards = list(cards)
        self.driver = driver
        self.open = 0
        self.unsupported: set[str] = set()

    def nvmlInit(self) -> None:  # noqa: N802
        """Fail without a driver."""
        known(self.driver)
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        """Count down what was opened."""
        self.open -= 1

    def __getattr__(self, name: str) -> Any:
        if name not in ANSWERS:
            raise AttributeError(name)
        if name in self.unsupported:
            return lambda *arguments: known(None)
        return lambda *arguments: ANSWERS[name](self, *arguments)


def memory(_: FakeNvml, handle: Any) -> Any:
    """Total and free; a slice is all free."""
    if isinstance(handle, FakeSlice):
        return SimpleNamespace(total=handle.total, free=handle.total, used=0)
    return SimpleNamespace(total=known(handle.total), free=handle.free)


def name(nvml: FakeNvml, handle: Any) -> Any:
    """A slice is named after its card."""
    if isinstance(handle, FakeCard):
        return handle.name
    card = next(card for card in nvml.cards if handle in (card.slices or ()))
    return f"{card.name} MIG {handle.slices}g"


def link_end(kind: str) -> Any:
    """Type of what a link ends at."""
    return 2 if kind == "switch" else 0


ANSWERS: dict[str, Any] = {
    "nvmlSystemGetDriverVersion": lambda nvml: nvml.driver,
    "nvmlSystemGetCudaDriverVersion_v2": lambda nvml: 13020,
    "nvmlDeviceGetCount": lambda nvml: len(nvml.cards),
    "nvmlDeviceGetHandleByIndex": lambda nvml, index: nvml.cards[index],
    "nvmlDeviceGetName": name,
    "nvmlDeviceGetUUID": lambda nvml, handle: handle.uuid,
    "nvmlDeviceGetMemoryInfo": memory,
    "nvmlDeviceGetCudaComputeCapability": lambda nvml, card: known(card.capability),
    "nvmlDeviceGetCurrPcieLinkGeneration": lambda nvml, card: known(card.generations[0]),
    "nvmlDeviceGetMaxPcieLinkGeneration": lambda nvml, card: known(card.generations[1]),
    "nvmlDeviceGetCurrPcieLinkWidth": lambda nvml, card: known(card.lanes),
    "nvmlDeviceGetMaxPcieLinkWidth": lambda nvml, card: known(card.lanes),
    "nvmlDeviceGetPciInfo": lambda nvml, card: SimpleNamespace(busId=known(card.bus)),
    "nvmlDeviceGetComputeRunningProcesses": lambda nvml, handle: [
        SimpleNamespace(pid=pid, usedGpuMemory=used)
        for pid, used in known(getattr(handle, "running", None))
    ],
    "nvmlDeviceGetNvLinkState": lambda nvml, card, index: (
        int(bool(card.nvlinks[index])) if index < len(known(card.nvlinks)) else known(None)
    ),
    "nvmlDeviceGetNvLinkRemoteDeviceType": lambda nvml, card, index: link_end(card.nvlinks[index]),
    "nvmlDeviceGetNvLinkRemotePciInfo": lambda nvml, card, index: SimpleNamespace(
        busId=card.nvlinks[index]
    ),
    "nvmlDeviceGetP2PStatus": lambda nvml, card, other, caps: 0 if known(card.p2p_nvlink) else 5,
    "nvmlDeviceGetMigMode": lambda nvml, card: (int(known(card.slices) is not None), 0),
    "nvmlDeviceGetMaxMigDeviceCount": lambda nvml, card: 7,
    "nvmlDeviceGetMigDeviceHandleByIndex": lambda nvml, card, index: known(
        card.slices[index] if index < len(card.slices) else None
    ),
    "nvmlDeviceGetAttributes": lambda nvml, part: SimpleNamespace(
        gpuInstanceSliceCount=part.slices
    ),
}


SLICED = FakeCard(
    name="NVIDIA A100-SXM4-80GB",
    uuid="GPU-5555",
    total=80 * GIB,
    capability=(8, 0),
    slices=[FakeSlice("MIG-1111", 40 * GIB, 3), FakeSlice("MIG-2222", 20 * GIB, 2)],
)


def test_a_card_is_read_with_what_is_free_now() -> None:
    """Free memory is the driver's word of this moment; rates are the catalogue's."""
    nvml = FakeNvml(FakeCard())
    reading = read_nvml(nvml, {})
    (device,) = reading.devices
    assert device.name == "NVIDIA H200"
    assert (device.total_bytes, device.free_bytes) == (141 * GIB, 139 * GIB)
    assert device.compute_capability == (9, 0)
    assert device.matrix_flops_per_second == 989.4e12
    assert device.memory_bytes_per_second == 4.8e12
    assert device.uuid == "GPU-aaaa"
    assert (reading.driver_version, reading.cuda_version) == ("580.65.06", "13.2")
    assert reading.reason is None
    assert reading.link is None
    assert nvml.open == 0


def test_an_idle_card_is_not_taken_for_pcie_1() -> None:
    """Cards fall back to PCIe 1 while idle: generation 5 with 16 lanes is 63 GB/s."""
    (device,) = read_devices(FakeNvml(FakeCard(generations=(1, 5))), {})
    assert device.host_link_bytes_per_second == pytest.approx(63.008e9)
    (narrow,) = read_devices(FakeNvml(FakeCard(generations=(3, None), lanes=8)), {})
    assert narrow.host_link_bytes_per_second == pytest.approx(7.88e9)


def test_names_may_be_bytes() -> None:
    """Old libraries answer bytes."""
    (device,) = read_devices(FakeNvml(FakeCard(name=b"Tesla T4", total=15 * GIB)), {})
    assert device.name == "Tesla T4"
    assert device.matrix_flops_per_second == 65e12


def test_what_a_card_does_not_answer_is_absent() -> None:
    """Every call may be unsupported: the catalogue fills in or the field is None."""
    silent = FakeCard(
        name="NVIDIA Unheard Of",
        capability=None,
        generations=(None, None),
        lanes=None,
        running=None,
    )
    (device,) = read_devices(FakeNvml(silent), {})
    assert device.compute_capability == (0, 0)
    assert device.matrix_flops_per_second is None
    assert device.memory_bytes_per_second is None
    assert device.host_link_bytes_per_second is None
    assert device.processes == ()


def test_a_card_that_does_not_say_its_memory_is_left_out_with_a_reason() -> None:
    """Without memory there is nothing to plan for."""
    reading = read_nvml(FakeNvml(FakeCard(total=None)), {})
    assert reading.devices == ()
    assert "how much memory" in str(reading.reason)


INDISPENSABLE = ("nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetMemoryInfo")


@pytest.mark.parametrize("call", list(ANSWERS))
def test_no_single_unsupported_call_is_an_error(call: str) -> None:
    """Whatever one driver does not know, the rest of the machine is read."""
    nvml = FakeNvml(
        SLICED, FakeCard(nvlinks=["switch"]), FakeCard(uuid="GPU-b", nvlinks=["switch"])
    )
    nvml.unsupported.add(call)
    nothing = call in (
        "nvmlDeviceGetCount",
        "nvmlDeviceGetHandleByIndex",
        "nvmlDeviceGetMemoryInfo",
    )
    assert (len(read_devices(nvml, {})) == 0) == nothing


def test_no_driver_is_no_error() -> None:
    """A machine without a driver has no GPUs, and doctor can say why."""
    reading = read_nvml(FakeNvml(driver=None), {})
    assert reading.devices == ()
    assert "no NVIDIA driver answers" in str(reading.reason)


def test_other_processes_on_the_card_are_named() -> None:
    """Who holds memory is told, this process left out, and containers hide how much."""
    running = [(os.getpid(), GIB), (1, 2 * GIB), (2**22 + 1, None)]
    (device,) = read_devices(FakeNvml(FakeCard(running=running)), {})
    first, second = device.processes
    assert (first.pid, first.used_bytes) == (1, 2 * GIB)
    assert first.name != ""
    assert (second.pid, second.name, second.used_bytes) == (2**22 + 1, "unknown", None)


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


def pair(first: list[str] | None, second: list[str] | None, **more: Any) -> FakeNvml:
    """Two RTX 3090 with NVLinks that end at the given places."""
    common = {"name": "NVIDIA GeForce RTX 3090", "total": 24 * GIB, "capability": (8, 6)}
    return FakeNvml(
        FakeCard(bus="00000000:01:00.0", nvlinks=first, generations=(1, 4), **common, **more),
        FakeCard(bus=b"0000:02:00.0", nvlinks=second, generations=(1, 4), **common, **more),
    )


def test_a_bridge_is_seen_and_its_links_counted() -> None:
    """Four links of 14.06 GB/s join two RTX 3090; links that are down do not count."""
    link = read_nvml(pair(["0000:02:00.0"] * 4, ["00000000:01:00.0"] * 4), {}).link
    assert link is not None
    assert (link.kind, link.bytes_per_second) == (LinkType.NVLINK, 56.25e9)
    half = read_nvml(pair(["0000:02:00.0", "", "0000:02:00.0", ""], []), {}).link
    assert half is not None
    assert half.bytes_per_second == 28.125e9


def test_cards_on_a_switch_are_joined_by_all_their_links() -> None:
    """On a switch every pair has the whole bandwidth: 18 links of 25 GB/s."""
    cards = [FakeCard(bus=f"00000000:0{n}:00.0", nvlinks=["switch"] * 18) for n in range(1, 5)]
    link = read_nvml(FakeNvml(*cards), {}).link
    assert link is not None
    assert (link.kind, link.bytes_per_second) == (LinkType.NVLINK, 450e9)


def test_a_driver_that_only_says_nvlink_gets_the_datasheets_rate() -> None:
    """Where links cannot be counted the peer status and the catalogue have to do."""
    link = read_nvml(pair(None, None, p2p_nvlink=True), {}).link
    assert link is not None
    assert (link.kind, link.bytes_per_second) == (LinkType.NVLINK, 56.25e9)


def test_cards_without_a_bridge_go_through_pcie() -> None:
    """The slower slot of a pair sets the pace: PCIe 4.0 x16 is 31.5 GB/s, x8 half of it."""
    link = read_nvml(pair(None, None), {}).link
    assert link is not None
    assert link.kind is LinkType.PCIE
    assert link.bytes_per_second == pytest.approx(31.504e9)
    slower = pair(["", ""], None)
    slower.cards[1].lanes = 8
    link = read_nvml(slower, {}).link
    assert link is not None
    assert link.bytes_per_second == pytest.approx(15.752e9)


def test_one_pair_without_nvlink_makes_the_machine_pcie() -> None:
    """A ring over three cards waits for its slowest link."""
    cards = [
        FakeCard(bus="00000000:01:00.0", nvlinks=["00000000:02:00.0"]),
        FakeCard(bus="00000000:02:00.0", nvlinks=["00000000:01:00.0"]),
        FakeCard(bus="00000000:03:00.0", nvlinks=[]),
    ]
    link = read_nvml(FakeNvml(*cards), {}).link
    assert link is not None
    assert link.kind is LinkType.PCIE
