"""Which rows are held out."""

from __future__ import annotations

from tsplanner.datasets.split import held_out_count, held_out_places


def test_held_out_rows_are_a_share_but_never_all() -> None:
    """10 % of 414 rows is 41; two rows leave one to train on; one row is never held out."""
    assert held_out_count(414, 0.1) == 41
    assert held_out_count(5, 0.1) == 1
    assert held_out_count(2, 0.9) == 1
    assert held_out_count(1, 0.5) == 0
    assert held_out_count(100, 0.0) == 0


def test_only_the_seed_draws_the_held_out_rows() -> None:
    """A fifth of 50 rows are ten places; another seed draws others."""
    found = held_out_places(50, 0.2, seed=3)
    assert len(found) == 10
    assert found == held_out_places(50, 0.2, seed=3) != held_out_places(50, 0.2, seed=4)
    assert found <= set(range(50))
