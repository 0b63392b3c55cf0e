"""Which settings come next, and when a challenger is believed."""

from __future__ import annotations

import math

import pytest

from tsplanner.tune.search.acquisition import (
    SWEEP,
    Grid,
    Pair,
    challenger,
    chance,
    next_point,
    pairs_of,
    proven,
    wanted,
)
from tsplanner.tune.search.surrogate import Belief, Point, Seen, valley

DEFAULT = Point(decades=0.0)
THREE = math.log10(3)
GRID = Grid(default=DEFAULT, decades=(-1.5, 1.0), halvings=(0.0, 1.0, 2.0))


def seen(*places: tuple[float, float]) -> list[Seen]:
    """Results at decades over the prior's rate."""
    return [Seen(point=Point(decades=decades), loss=loss) for decades, loss in places]


def test_valley_is_lowest_at_its_rate_and_leans() -> None:
    """Nothing at the best rate, one unit a decade below it, three of them a decade above."""
    assert valley(0.0, 3.0) == 0.0
    assert valley(-1.0, 3.0) == pytest.approx(1.0)
    assert valley(1.0, 3.0) == pytest.approx(3.0)


def test_search_starts_with_the_prior_and_a_ladder() -> None:
    """Trial 0 is the default, 1 and 2 are at three times its rate and at a third."""
    first = next_point([], [], GRID)
    assert first == DEFAULT
    assert next_point([], [first], GRID).decades == pytest.approx(THREE)
    known = [DEFAULT, Point(decades=THREE)]
    assert next_point([], known, GRID).decades == pytest.approx(-THREE)


def test_ladder_stays_inside_the_range_of_the_user() -> None:
    """A range that ends at the default has no trial above it."""
    grid = Grid(default=DEFAULT, decades=(-1.0, 0.0))
    assert max(point.decades for point in grid.points()) == 0.0
    assert next_point([], [DEFAULT], grid).decades == pytest.approx(-THREE)


def test_range_of_one_rate_has_one_point() -> None:
    """A fixed rate is proposed again and again, and is its own challenger."""
    grid = Grid(default=DEFAULT, decades=(0.0, 0.0))
    assert grid.points() == [DEFAULT]
    assert next_point(seen((0.0, 1.0)), [], grid) == DEFAULT
    assert challenger(seen((0.0, 1.0)), grid) == DEFAULT


def test_search_goes_up_where_higher_rates_are_better() -> None:
    """Losses that fall towards three times the rate put the next trial above the default."""
    found = next_point(seen((0.0, 1.10), (THREE, 1.00), (-THREE, 1.25)), [], GRID)
    assert found.decades > THREE / 2


def test_trial_under_way_is_not_proposed_again() -> None:
    """Two workers that ask one after the other get different settings."""
    results = seen((0.0, 1.0), (THREE, 1.02), (-THREE, 1.02))
    first = next_point(results, [], GRID)
    second = next_point(results, [first], GRID)
    assert first != second


def test_lucky_winner_is_shrunk_to_the_prior() -> None:
    """One result that is lower than its neighbours by a thousandth is no new best."""
    results = seen((0.0, 0.500), (THREE, 0.506), (-THREE, 0.507), (-THREE / 2, 0.499))
    assert abs(challenger(results, GRID).decades) < THREE / 2


def test_pair_on_a_fresh_seed_moves_the_chance() -> None:
    """A clear gain on a fresh seed raises it, a loss lowers it."""
    results, other = seen((0.0, 0.500), (THREE, 0.495)), Point(decades=THREE)
    before = chance(results, [], other, DEFAULT)
    assert chance(results, [Pair(difference=-0.006)], other, DEFAULT) > before
    assert chance(results, [Pair(difference=0.006)], other, DEFAULT) < before


def test_noise_of_held_out_rows_weakens_a_pair() -> None:
    """The same gain is believed less if the rows scatter."""
    results, other = seen((0.0, 0.500), (THREE, 0.495)), Point(decades=THREE)
    sure = chance(results, [Pair(difference=-0.006)], other, DEFAULT)
    assert chance(results, [Pair(difference=-0.006, error=0.1)], other, DEFAULT) < sure


def test_deep_valley_of_other_data_is_followed() -> None:
    """Where the loss falls by half a nat the prior of another sweep does not hold it back."""
    results = seen((0.0, 1.0), (THREE, 0.5), (-THREE, 1.8))
    assert challenger(results, GRID).decades >= THREE - 0.01
    assert chance(results, [], Point(decades=THREE), DEFAULT) > 0.95


def test_quarter_of_the_trials_is_the_last_word() -> None:
    """Eight trials: four to search and two pairs; three: none."""
    assert [pairs_of(trials) for trials in (3, 4, 8, 16)] == [0, 1, 2, 4]


def test_pair_is_run_while_it_may_decide() -> None:
    """A winner has one; no more once it is settled, or lost on the fresh seed."""
    better, worse = [Pair(difference=-0.1)], [Pair(difference=0.1)]
    assert wanted(0.99, [])
    assert not wanted(0.4, [])
    assert wanted(0.9, better)
    assert not wanted(0.99, better)
    assert not wanted(0.9, worse)
    assert proven(0.95, better)
    assert not proven(0.95, worse)
    assert not proven(0.85, better)


def test_smaller_rank_costs_what_the_sweep_says() -> None:
    """Before any trial half the rank is expected to be worse, and two halvings worse still."""
    points = [Point(decades=0.0, halvings=float(halvings)) for halvings in range(3)]
    risks = Belief(SWEEP).risks(points)
    assert risks[0] < risks[1] < risks[2]
