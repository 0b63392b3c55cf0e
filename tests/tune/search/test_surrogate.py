"""The valley of the held-out loss, and what observations say of where it lies."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsplanner.tune.search.acquisition import (
    SWEEP,
)
from tsplanner.tune.search.surrogate import Observation, Point, Surrogate, valley


def test_valley_is_lowest_at_its_rate_and_leans() -> None:
    """Nothing at the best rate, one unit a decade below it, three of them a decade above."""
    assert valley(0.0, 3.0) == 0.0
    assert valley(-1.0, 3.0) == pytest.approx(1.0)
    assert valley(1.0, 3.0) == pytest.approx(3.0)


def test_smaller_rank_costs_what_the_sweep_says() -> None:
    """Before any trial half the rank is expected to be worse, and two halvings worse still."""
    points = [Point(log10_lr_offset=0.0, log2_rank_offset=-float(halved)) for halved in range(3)]
    risks = Surrogate(SWEEP).risks(points)
    assert risks[0] < risks[1] < risks[2]


def at(offset: float, loss: float, *, error: float = 0.0) -> Observation:
    """A result some decades over the suggested rate."""
    return Observation(point=Point(log10_lr_offset=offset), loss=loss, error=error)


def rates(*offsets: float) -> list[Point]:
    """Points at these rates and the largest rank."""
    return [Point(log10_lr_offset=offset) for offset in offsets]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.floats(-1.0, 1.0), st.floats(0.1, 5.0)), max_size=6))
def test_probabilities_add_up_whatever_is_seen(seen: list[tuple[float, float]]) -> None:
    """No set of losses leaves the surrogate without a belief, and no risk is below 0."""
    surrogate = Surrogate(SWEEP, [at(offset, loss) for offset, loss in seen])
    assert surrogate.shares.sum() == pytest.approx(1.0)
    assert (surrogate.risks(rates(-1.0, 0.0, 1.0)) >= 0).all()
    assert surrogate.noise_expected() > 0


def test_one_result_says_nothing_of_where_the_valley_lies() -> None:
    """Its level is integrated out: a loss of 1 and a loss of 3 leave the same risks."""
    points = rates(-0.5, 0.0, 0.5)
    low, high = (Surrogate(SWEEP, [at(0.0, loss)]).risks(points) for loss in (1.0, 3.0))
    assert low == pytest.approx(high)


def test_losses_that_fall_to_one_side_move_the_valley_there() -> None:
    """Half a decade up is better by 0.3 nats: it is expected to be better again."""
    surrogate = Surrogate(SWEEP, [at(0.0, 1.3), at(0.5, 1.0)])
    one, other = rates(0.5, 0.0)
    assert surrogate.chance_better(one, other) > 0.8 > Surrogate(SWEEP).chance_better(one, other)
    risks = surrogate.risks([one, other])
    assert risks[0] < risks[1]


def test_an_uncertain_result_moves_it_less() -> None:
    """A pruned trial says what it suggests, with an error."""
    one, other = rates(0.5, 0.0)
    sure = Surrogate(SWEEP, [at(0.0, 1.02), at(0.5, 1.0)]).chance_better(one, other)
    unsure = Surrogate(SWEEP, [at(0.0, 1.02), at(0.5, 1.0, error=0.5)]).chance_better(one, other)
    before = Surrogate(SWEEP).chance_better(one, other)
    assert before < unsure < sure


def test_a_pair_counts_by_its_difference_alone() -> None:
    """A pair on a fresh seed needs no level; the better side gains."""
    one, other = rates(0.5, 0.0)
    before = Surrogate(SWEEP).chance_better(one, other)
    for difference, gains in ((-0.2, True), (0.2, False)):
        surrogate = Surrogate(SWEEP)
        surrogate.add_difference(one, other, difference, error=0.0)
        assert (surrogate.chance_better(one, other) > before) is gains
