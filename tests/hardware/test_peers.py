"""Links between the cards of one machine."""

from __future__ import annotations

from typing import Any

import pytest

from memory_models.device import LinkType
from tests.support.fake_nvml import FakeCard, FakeNvml
from tsplanner.hardware.nvml import read_nvml

GIB = 1024**3


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


def test_cards_behind_one_switch_share_the_way_to_the_host() -> None:
    """NVML's 20 is a way over switches alone; at 30 it passes the host bridge."""
    for level, together in ((10, 2), (20, 2), (30, 1), (None, 1)):
        nvml = pair(None, None)
        if level is not None:
            nvml.nvmlDeviceGetTopologyCommonAncestor = lambda *_, level=level: level
        assert [each.uplink_gpus for each in read_nvml(nvml, {}).devices] == [together] * 2
