"""The links between the cards of one machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

from memory_models.device import Device, LinkType
from tsplanner.hardware.gpus.names import gpu_by_driver_name
from tsplanner.hardware.links import Link, nvlink_bytes_per_second
from tsplanner.hardware.visible import Asks, Card

MAX_NVLINKS = 36
NVLINK_ENABLED = 1
NVLINK_TO_SWITCH = 2
P2P_CAPS_NVLINK = 2
P2P_OK = 0
"""Constants of nvml.h, which do not change between versions."""

BEHIND_ONE_SWITCH = 20
"""NVML_TOPOLOGY_MULTIPLE: the way between two cards passes PCIe switches and no host bridge."""

_SWITCH = "switch"


def links_between(
    nvml: Asks, cards: tuple[Card, ...], devices: tuple[Device, ...]
) -> Iterator[Link]:
    """One link per pair of cards, in the order of the cards."""
    if len(cards) < 2:
        return
    ends = [_link_ends(nvml, card) for card in cards]
    for first, second in combinations(range(len(cards)), 2):
        pair = (devices[first], devices[second])
        bus = _bus(nvml.ask("nvmlDeviceGetPciInfo", cards[second].handle))
        # A switch joins a card with every other one, so each link to it counts for every pair.
        count = sum(end in (_SWITCH, bus) for end in ends[first])
        if _joined(nvml, cards[first], cards[second], count):
            yield Link(kind=LinkType.NVLINK, bytes_per_second=_nvlink_rate(pair[0], count))
        else:
            yield Link(kind=LinkType.PCIE, bytes_per_second=_slower_host_link(*pair))


def with_uplinks(
    nvml: Asks, cards: tuple[Card, ...], devices: tuple[Device, ...]
) -> tuple[Device, ...]:
    """The devices, each with the number of cards that share its way to the host.

    Cards behind one PCIe switch share the lanes above it. Cards whose ways meet in the host bridge
    have root ports of their own. Slices of one card share its lanes.
    """
    buses = [_bus(nvml.ask("nvmlDeviceGetPciInfo", card.parent)) for card in cards]

    def shares(first: int, second: int) -> bool:
        if buses[first] is not None and buses[first] == buses[second]:
            return True
        parents = (cards[first].parent, cards[second].parent)
        level = nvml.ask("nvmlDeviceGetTopologyCommonAncestor", *parents)
        return level is not None and int(level) <= BEHIND_ONE_SWITCH

    places = range(len(devices))
    return tuple(
        replace(
            device, uplink_gpus=1 + sum(shares(place, other) for other in places if other != place)
        )
        for place, device in enumerate(devices)
    )


def _slower_host_link(device: Device, other: Device) -> float | None:
    """Bandwidth of a pair through the host: that of the slower slot."""
    rates = (device.host_link_bytes_per_second, other.host_link_bytes_per_second)
    return None if rates[0] is None or rates[1] is None else min(rates[0], rates[1])


def _joined(nvml: Asks, card: Card, other: Card, count: int) -> bool:
    """Whether NVLink joins a pair; slices reach each other through PCIe only."""
    if card.mig or other.mig:
        return False
    status = nvml.ask("nvmlDeviceGetP2PStatus", card.handle, other.handle, P2P_CAPS_NVLINK)
    # A driver may not say where links end and only that NVLink works between the two cards.
    return count > 0 or status == P2P_OK


def _nvlink_rate(device: Device, count: int) -> float | None:
    """Bandwidth of ``count`` links; that of the datasheet for all links where none was counted."""
    rate = nvlink_bytes_per_second(device.compute_capability, count)
    if rate is not None:
        return rate
    gpu = gpu_by_driver_name(device.name, device.total_bytes)
    return gpu.links.nvlink_bytes_per_second if gpu else None


def _link_ends(nvml: Asks, card: Card) -> list[str]:
    """Where each active NVLink of a card ends: another card's PCI address or a switch."""
    ends: list[str] = []
    for index in range(MAX_NVLINKS):
        state = nvml.ask("nvmlDeviceGetNvLinkState", card.handle, index)
        if state is None:
            break
        if state != NVLINK_ENABLED:
            continue
        kind = nvml.ask("nvmlDeviceGetNvLinkRemoteDeviceType", card.handle, index)
        remote = _bus(nvml.ask("nvmlDeviceGetNvLinkRemotePciInfo", card.handle, index))
        ends.append(_SWITCH if kind == NVLINK_TO_SWITCH else remote or "")
    return ends


def _bus(info: object) -> str | None:
    """A PCI address in one spelling; some answers are bytes, and some omit zeros of the domain."""
    address = getattr(info, "busId", None)
    if isinstance(address, bytes):
        address = address.decode("ascii", "replace")
    return address.lower().lstrip("0:") if isinstance(address, str) else None
