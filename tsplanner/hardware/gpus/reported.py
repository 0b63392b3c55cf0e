"""Memory that CUDA reported of cards of the catalogue, where somebody published it.

A card that is only described is taken to leave ``usable_bytes`` to programs, which is assumed.
These figures are what ``torch.cuda.get_device_properties`` said on other people's machines: a test
holds the assumption against them. Drivers differ, so a card may have several.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

NOTEBOOKS = "outputs of unslothai/notebooks, 2024 to 2026"

REPORTED: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "T4": (14.563, 14.741, 14.748),
        "RTX 3060": (11.755,),
        "A10G": (22.184,),
        "A100 SXM4 40GB": (39.494, 39.557),
        "A100 SXM4 80GB": (79.251, 79.318),
        "L4": (22.161,),
        "RTX 4090": (23.635,),
    }
)
"""GiB by the name of the card, smallest first; source: ``NOTEBOOKS``."""


def reported_gib(name: str) -> tuple[float, ...]:
    """What CUDA reported of a card, smallest first; empty: nobody's figure is known."""
    return REPORTED.get(name, ())
