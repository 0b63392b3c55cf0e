"""What CUDA reported of real cards, against what a described card is taken to leave free."""

from __future__ import annotations

import pytest

from memory_models.units import GIB
from tsplanner.hardware.describe import parse_gpus
from tsplanner.hardware.gpus.reported import REPORTED, reported_gib


@pytest.mark.parametrize("name", REPORTED)
def test_a_described_card_has_as_much_as_cuda_reported(name: str) -> None:
    """The assumption is below the most that was reported, and within 1 % of the least."""
    (card,) = parse_gpus(name)
    least, most = REPORTED[name][0], REPORTED[name][-1]
    assert card.free_bytes < most * GIB
    assert card.free_bytes == pytest.approx(least * GIB, rel=0.01)
    assert list(REPORTED[name]) == sorted(REPORTED[name])


def test_cards_that_nobody_published_have_no_figure() -> None:
    """A guess is none."""
    assert reported_gib("L40") == ()
    assert reported_gib("T4")[0] == 14.563
