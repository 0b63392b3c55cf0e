"""The house stays one that a stranger can live in: its measures keep within their bars."""

from __future__ import annotations

from benchmarks.house.bars import measures


def test_every_measure_of_the_house_keeps_within_its_bar() -> None:
    """``python benchmarks/house/bars.py --list`` shows the same with what stands behind each."""
    missed = {each.name: each.found or each.value for each in measures() if not each.met}
    assert missed == {}
