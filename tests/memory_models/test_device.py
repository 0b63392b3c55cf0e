"""Machines and their GPUs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.device import Device

GIB = 1024**3


TURING = Device(
    name="RTX 2080 Ti", total_bytes=22 * GIB, free_bytes=21 * GIB, compute_capability=(7, 5)
)


@pytest.mark.parametrize(("capability", "has"), [((7, 5), False), ((8, 0), True), ((12, 0), True)])
def test_bf16_is_native_from_compute_capability_8(capability: tuple[int, int], has: bool) -> None:
    """Emulation does not count."""
    assert replace(TURING, compute_capability=capability).has_bf16 is has
