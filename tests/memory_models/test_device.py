"""Machines and their GPUs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.rig import TURING


@pytest.mark.parametrize(("capability", "has"), [((7, 5), False), ((8, 0), True), ((12, 0), True)])
def test_bf16_is_native_from_compute_capability_8(capability: tuple[int, int], has: bool) -> None:
    """Emulation does not count."""
    assert replace(TURING, compute_capability=capability).has_bf16 is has
