"""Pareto maxima of levels."""

from __future__ import annotations

from memory_models.activations.peaks import pareto_peaks
from memory_models.symbolic import Size


def test_levels_below_others_in_every_unit_are_left_out() -> None:
    """(1, 1, 0) is below (2, 1, 0); neither of the others is below the other."""
    found = pareto_peaks([Size(1, 1, 0), Size(2, 1, 0), Size(0, 9, 0)])
    assert set(found.sizes) == {(2, 1, 0), (0, 9, 0)}
    assert found.bytes(1, 0) == 9
    assert found.bytes(100, 0) == 201


def test_without_levels_nothing_is_taken() -> None:
    """An empty program peaks at nothing."""
    assert pareto_peaks([]).bytes(1000, 1000) == 0
