"""Which settings come next, and when a candidate is trusted."""

from __future__ import annotations

import math

import pytest

from tsplanner.tune.search.acquisition import (
    Grid,
    Pair,
    another_pair_pays,
    candidate,
    chance,
    pairs_of,
    proven,
    suggest,
)
from tsplanner.tune.search.surrogate import Observation, Point

BASELINE = Point(log10_lr_offset=0.0)
THREE = math.log10(3)
GRID = Grid(baseline=BASELINE, log10_lr_range=(-1.5, 1.0), log2_rank_offsets=(0.0, -1.0, -2.0))


def seen(*points: tuple[float, float]) -> list[Observation]:
    """Results at decades over the suggested rate."""
    return [Observation(point=Point(log10_lr_offset=rate), loss=loss) for rate, loss in points]


def test_search_starts_with_the_baseline_and_a_ladder() -> None:
    """Trial 0 is the baseline, 1 and 2 are at three times its rate and at a third."""
    first = suggest([], [], GRID)
    assert first == BASELINE
    assert suggest([], [first], GRID).log10_lr_offset == pytest.approx(THREE)
    known = [BASELINE, Point(log10_lr_offset=THREE)]
    assert suggest([], known, GRID).log10_lr_offset == pytest.approx(-THREE)


def test_ladder_stays_inside_the_range_of_the_user() -> None:
    """A range that ends at the baseline has no trial above it."""
    grid = Grid(baseline=BASELINE, log10_lr_range=(-1.0, 0.0))
    assert max(point.log10_lr_offset for point in grid.points()) == 0.0
    assert suggest([], [BASELINE], grid).log10_lr_offset == pytest.approx(-THREE)


def test_range_of_one_rate_has_one_point() -> None:
    """A fixed rate is suggested again and again, and is its own candidate."""
    grid = Grid(baseline=BASELINE, log10_lr_range=(0.0, 0.0))
    assert grid.points() == [BASELINE]
    assert suggest(seen((0.0, 1.0)), [], grid) == BASELINE
    assert candidate(seen((0.0, 1.0)), grid) == BASELINE


def test_search_goes_up_where_higher_rates_are_better() -> None:
    """Losses that fall towards three times the rate put the next trial above the baseline."""
    found = suggest(seen((0.0, 1.10), (THREE, 1.00), (-THREE, 1.25)), [], GRID)
    assert found.log10_lr_offset > THREE / 2


def test_trial_under_way_is_not_proposed_again() -> None:
    """Two workers that ask one after the other get different settings."""
    results = seen((0.0, 1.0), (THREE, 1.02), (-THREE, 1.02))
    first = suggest(results, [], GRID)
    second = suggest(results, [first], GRID)
    assert first != second


def test_lucky_winner_is_shrunk_to_the_baseline() -> None:
    """One result that is lower than its neighbours by a thousandth is no new best."""
    results = seen((0.0, 0.500), (THREE, 0.506), (-THREE, 0.507), (-THREE / 2, 0.499))
    assert abs(candidate(results, GRID).log10_lr_offset) < THREE / 2


def test_pair_on_a_fresh_seed_moves_the_chance() -> None:
    """A clear gain on a fresh seed raises it, a loss lowers it."""
    results, other = seen((0.0, 0.500), (THREE, 0.495)), Point(log10_lr_offset=THREE)
    before = chance(results, [], other, BASELINE)
    assert chance(results, [Pair(difference=-0.006)], other, BASELINE) > before
    assert chance(results, [Pair(difference=0.006)], other, BASELINE) < before


def test_noise_of_held_out_rows_weakens_a_pair() -> None:
    """The same gain counts less if the examples scatter."""
    results, other = seen((0.0, 0.500), (THREE, 0.495)), Point(log10_lr_offset=THREE)
    sure = chance(results, [Pair(difference=-0.006)], other, BASELINE)
    assert chance(results, [Pair(difference=-0.006, error=0.1)], other, BASELINE) < sure


def test_deep_valley_of_other_data_is_followed() -> None:
    """Where the loss falls by half a nat the prior of another sweep does not hold it back."""
    results = seen((0.0, 1.0), (THREE, 0.5), (-THREE, 1.8))
    assert candidate(results, GRID).log10_lr_offset >= THREE - 0.01
    assert chance(results, [], Point(log10_lr_offset=THREE), BASELINE) > 0.95


def test_quarter_of_the_trials_is_the_confirmation() -> None:
    """Eight trials: four to search and two pairs; three: none."""
    assert [pairs_of(trials) for trials in (3, 4, 8, 16)] == [0, 1, 2, 4]


def test_pair_is_run_while_it_may_decide() -> None:
    """A winner has one; no more once it is settled, or lost on the fresh seed."""
    better, worse = [Pair(difference=-0.1)], [Pair(difference=0.1)]
    assert another_pair_pays(0.99, [])
    assert not another_pair_pays(0.4, [])
    assert another_pair_pays(0.9, better)
    assert not another_pair_pays(0.99, better)
    assert not another_pair_pays(0.9, worse)
    assert proven(0.95, better)
    assert not proven(0.95, worse)
    assert not proven(0.85, better)
    assert not proven(0.999, [])  # the search alone proves nothing
