"""Bandwidth of links: PCIe by generation and lanes, NVLink by the generation of the GPU."""

from __future__ import annotations

from collections.abc import Iterable

from memory_models.device import LinkType
from memory_models.frozen import frozen

PCIE_BYTES_PER_SECOND_PER_LANE = {
    1: 0.25e9,
    2: 0.5e9,
    3: 0.985e9,
    4: 1.969e9,
    5: 3.938e9,
    6: 7.563e9,
}
"""In one direction, after line coding. Source: PCI-SIG base specifications. Ignores: packet
headers, which take another 5 to 15 %."""

NVLINK_BYTES_PER_SECOND_PER_LINK = {
    (7, 0): 25e9,
    (7, 5): 25e9,
    (8, 0): 25e9,
    (8, 6): 14.0625e9,
    (9, 0): 25e9,
    (10, 0): 50e9,
    (10, 3): 50e9,
}
"""In one direction, by compute capability. Source: NVIDIA's datasheets (A100: 12 links are 300
GB/s; RTX 3090: 4 links are 56.25 GB/s; H100: 18 links are 450 GB/s)."""


@frozen
class Link:
    """A connection between two GPUs."""

    kind: LinkType
    bytes_per_second: float | None
    """In one direction; None: not known."""


def pcie_bytes_per_second(generation: int | None, lanes: int | None) -> float | None:
    """Bandwidth of a PCIe slot in one direction, bytes per second; None where a part is unknown."""
    if not generation or not lanes:
        return None
    rate = PCIE_BYTES_PER_SECOND_PER_LANE.get(generation)
    return None if rate is None else rate * lanes


def nvlink_bytes_per_second(compute_capability: tuple[int, int], links: int) -> float | None:
    """Bandwidth of ``links`` NVLinks in one direction; None for a GPU generation without NVLink."""
    rate = NVLINK_BYTES_PER_SECOND_PER_LINK.get(compute_capability)
    return None if rate is None or links < 1 else rate * links


def slowest_link(links: Iterable[Link]) -> Link | None:
    """The link that a collective over all GPUs waits for; None for fewer than two GPUs.

    One pair that is joined by PCIe slows the whole ring to PCIe.
    """
    ranked = sorted(
        links,
        key=lambda link: (link.kind is LinkType.NVLINK, link.bytes_per_second or float("inf")),
    )
    return ranked[0] if ranked else None
