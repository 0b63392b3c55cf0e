"""The measured constants."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from memory_models.calibration import DEFAULT, Margin


@pytest.mark.parametrize(
    "table", [DEFAULT.margins.allocated, DEFAULT.margins.reserved, DEFAULT.margins.replayed]
)
def test_every_measured_bound_is_above_its_median(table: Mapping[str, Margin]) -> None:
    """A calibration with a bound under its own expectation is a slip."""
    assert "default" in table
    assert all(found.expected <= found.upper for found in table.values())
