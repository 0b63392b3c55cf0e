"""What a row of the GPU catalogue says, and how names of cards are compared."""

from __future__ import annotations

import re
from dataclasses import field

from memory_models.frozen import frozen
from memory_models.units import GIB, MIB
from tsplanner.hardware.links import pcie_bytes_per_second

FREE_RESERVE_BYTES = 256 * MIB
FREE_RESERVE_SHARE = 0.0075
"""Driver and firmware are assumed to keep 256 MiB and 0.75 % of the memory of an idle card. Both
were chosen to agree with idle cards: 21.6 of 22 GiB, 79.1 of 80 and 139.7 of 141 were free."""

INLINE_ECC_SHARE = 1 / 16
"""GDDR cards with error correction store the check bits in this share of their own memory."""

GENERATIONS = {
    (6, 0): "Pascal",
    (6, 1): "Pascal",
    (7, 0): "Volta",
    (7, 5): "Turing",
    (8, 0): "Ampere",
    (8, 6): "Ampere",
    (8, 9): "Ada Lovelace",
    (9, 0): "Hopper",
    (10, 0): "Blackwell",
    (10, 3): "Blackwell",
    (12, 0): "Blackwell",
    (12, 1): "Blackwell",
}

_NOISE = re.compile(r"\b(?:nvidia|geforce|tesla|rtx|generation|edition|gpu|graphics)\b")
_SIZE = re.compile(r"(?<![\w.])(\d{1,4}(?:\.\d{1,3})?)\s*g(?:i?b)?\b", re.IGNORECASE | re.ASCII)


@frozen
class Names:
    """What a card is called, beside its own name, in the form that ``name_key`` makes."""

    patterns: tuple[str, ...] = field(default=())
    """Other names."""
    patterns_with_size: tuple[str, ...] = field(default=())
    """Names that mean this card only when its memory size is written too."""


@frozen
class Links:
    """How a card reaches the host and other cards."""

    pcie_generation: int
    pcie_lanes: int = 16
    nvlink_bytes_per_second: float | None = None
    """One direction, all links of the card; None: no NVLink."""
    nvlink_built_in: bool = False
    """Always wired (SXM boards); False: only with a bridge."""
    c2c_bytes_per_second: float | None = None
    """One direction of NVLink-C2C to the host's memory; None: the card reaches it through PCIe."""
    shares_host_memory: bool = False
    """The card has no memory of its own: its bytes are the host's RAM."""


@frozen
class Gpu:
    """One row of the catalogue."""

    name: str
    memory_gib: tuple[int, ...]
    """Sizes on the market; with several sizes a bare name is ambiguous."""
    compute_capability: tuple[int, int]
    matrix_flops_per_second: float
    """Dense fp16/bf16 tensor rate, fp32 accumulation."""
    memory_bytes_per_second: float
    links: Links
    source: str
    """The vendor's document."""
    names: Names = field(default_factory=Names)
    modified_gib: tuple[int, ...] = field(default=())
    """Sizes of rebuilt cards; a person may write them, and no message offers them."""
    inline_ecc: bool = False
    """Error correction is on as delivered and takes INLINE_ECC_SHARE of the memory."""

    @property
    def generation(self) -> str:
        """NVIDIA's name for the architecture."""
        return GENERATIONS[self.compute_capability]

    @property
    def keys(self) -> frozenset[str]:
        """Every name that means this card unambiguously."""
        return frozenset({name_key(self.name), *self.names.patterns})

    @property
    def host_link_bytes_per_second(self) -> float | None:
        """Bandwidth in one direction, bytes per second: of C2C, or over all PCIe lanes."""
        if self.links.c2c_bytes_per_second is not None:
            return self.links.c2c_bytes_per_second
        return pcie_bytes_per_second(self.links.pcie_generation, self.links.pcie_lanes)

    def total_bytes(self, size_gib: int) -> int:
        """Bytes that the driver reports for a card sold with ``size_gib``."""
        share = 1 - INLINE_ECC_SHARE if self.inline_ecc else 1
        return int(size_gib * GIB * share)


def usable_bytes(total_bytes: int) -> int:
    """Bytes that an idle card leaves to programs. Assumed: see ``FREE_RESERVE_BYTES``."""
    reserve = FREE_RESERVE_BYTES + int(total_bytes * FREE_RESERVE_SHARE)
    return max(0, total_bytes - reserve)


def size_in(text: str) -> float | None:
    """Memory size in a GPU's name, in GiB; GB means GiB here, as vendors write it."""
    found = _SIZE.search(re.sub(r"[-_/]", " ", text))
    return float(found.group(1)) if found else None


def name_key(text: str) -> str:
    """A name without vendor, family, memory size, case and punctuation.

    ``NVIDIA GeForce RTX 2080 Ti``, ``RTX2080Ti`` and ``2080 ti 22GiB`` all give ``2080ti``.
    """
    words = _SIZE.sub(" ", re.sub(r"[-_/]", " ", text.lower()))
    # In ``RTX2080`` no word ends behind RTX, so the pattern of noise words would leave it in.
    words = re.sub(r"\brtx(?=\w)", " ", words)
    return re.sub(r"[^a-z0-9]", "", _NOISE.sub(" ", words))
