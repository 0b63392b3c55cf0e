"""Bandwidth of links, from their generation and number."""

from __future__ import annotations

import pytest

from memory_models.device import LinkType
from tsplanner.hardware.links import (
    Link,
    nvlink_bytes_per_second,
    pcie_bytes_per_second,
    slowest_link,
)


@pytest.mark.parametrize(
    ("generation", "lanes", "rate"),
    [
        (3, 16, 15.76e9),
        (4, 8, 15.752e9),
        (5, 16, 63.008e9),
        (7, 16, None),
        (None, 16, None),
        (4, None, None),
        (4, 0, None),
    ],
)
def test_pcie_is_a_rate_per_lane(
    generation: int | None, lanes: int | None, rate: float | None
) -> None:
    """Generation 3 has 0.985 GB/s per lane, generation 4 1.969, generation 5 3.938."""
    assert pcie_bytes_per_second(generation, lanes) == (
        None if rate is None else pytest.approx(rate)
    )


@pytest.mark.parametrize(
    ("capability", "links", "rate"),
    [
        ((8, 0), 12, 300e9),
        ((8, 6), 4, 56.25e9),
        ((9, 0), 18, 450e9),
        ((8, 9), 4, None),
        ((9, 0), 0, None),
    ],
)
def test_nvlink_is_a_rate_per_link(
    capability: tuple[int, int], links: int, rate: float | None
) -> None:
    """The datasheets' sums: A100, RTX 3090 and H100; Ada Lovelace has no NVLink."""
    assert nvlink_bytes_per_second(capability, links) == rate


def test_a_ring_waits_for_its_slowest_link() -> None:
    """Any PCIe is slower than any NVLink, and a link of unknown rate is no bottleneck."""
    fast = Link(kind=LinkType.NVLINK, bytes_per_second=450e9)
    slow = Link(kind=LinkType.NVLINK, bytes_per_second=56e9)
    pcie = Link(kind=LinkType.PCIE, bytes_per_second=63e9)
    unknown = Link(kind=LinkType.NVLINK, bytes_per_second=None)
    assert slowest_link([fast, slow, unknown]) == slow
    assert slowest_link([slow, pcie, fast]) == pcie
    assert slowest_link([]) is None
