"""Every process of a step gets about as many tokens."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from tsplanner.training.packing.balanced import BalancedSteps, shared_evenly
from tsplanner.training.solo.padding_samples import PaddingLast


def test_long_rows_go_to_different_processes() -> None:
    """As they come the first process would have 26 tokens and the second 4; now both have 15."""
    lengths = [8, 7, 6, 5, 1, 1, 1, 1]
    groups = shared_evenly(lengths, 2)
    assert [sum(lengths[place] for place in group) for group in groups] == [15, 15]
    assert groups == [[0, 3, 4, 6], [1, 2, 5, 7]]


def test_every_process_has_as_many_rows() -> None:
    """One long row and three short ones: the short ones are not all on the other process."""
    assert [len(group) for group in shared_evenly([100, 1, 1, 1], 2)] == [2, 2]


def test_an_epoch_keeps_its_steps_and_draws_every_row_once() -> None:
    """Of ten rows and two padding samples, steps of two processes with three rows each."""
    order, lengths = PaddingLast(10, 2, seed=1), [*range(10, 0, -1), 1, 1]
    drawn = list(BalancedSteps(order, lengths, 3, 2))
    plain = list(PaddingLast(10, 2, seed=1))
    assert [sorted(drawn[:6]), sorted(drawn[6:])] == [sorted(plain[:6]), sorted(plain[6:])]
    for start in (0, 6):
        halves = drawn[start : start + 3], drawn[start + 3 : start + 6]
        tokens = [sum(lengths[place] for place in half) for half in halves]
        assert abs(tokens[0] - tokens[1]) <= min(lengths[place] for place in plain[start:][:6]) + 1


def test_another_epoch_has_another_order() -> None:
    """The seed and the epoch alone decide it."""
    sampler = BalancedSteps(PaddingLast(40, 0, seed=1), [1] * 40, 4, 2)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first
    sampler.set_epoch(0)
    assert list(sampler) == first
