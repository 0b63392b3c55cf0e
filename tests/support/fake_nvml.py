"""A stand-in for NVML over fake cards."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

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
