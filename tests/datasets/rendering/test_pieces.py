"""Which turns carry loss."""

from __future__ import annotations

import pytest

from tsplanner.datasets.records import LossOn, Role, Turn
from tsplanner.datasets.rendering.pieces import is_learned

TURNS = (
    Turn(role=Role.USER),
    Turn(role=Role.ASSISTANT),
    Turn(role=Role.USER),
    Turn(role=Role.ASSISTANT),
)


@pytest.mark.parametrize(
    ("loss_on", "learned"),
    [
        (LossOn.ASSISTANT, [False, True, False, True]),
        (LossOn.LAST, [False, False, False, True]),
        (LossOn.ALL, [True, True, True, True]),
    ],
)
def test_loss_lies_where_it_was_asked_for(loss_on: LossOn, learned: list[bool]) -> None:
    """Two questions and two answers."""
    assert [is_learned(TURNS, place, loss_on) for place in range(4)] == learned


def test_a_row_decides_for_its_own_turns() -> None:
    """Weight 0 of an answer goes before the setting."""
    turns = (TURNS[0], Turn(role=Role.ASSISTANT, learned=False))
    assert not is_learned(turns, 1, LossOn.ALL)
