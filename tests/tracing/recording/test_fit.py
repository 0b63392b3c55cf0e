"""Bytes at a few sizes as one form of tokens and scores."""

from __future__ import annotations

import pytest

from memory_models.symbolic import Size
from tsplanner.tracing.recording.fit import ANY, ONE, SEVERAL, NotAffine, Point, affine, at

POINTS = ANY.times(256)[:3]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (lambda p: 4096, Size(constant=4096)),
        (lambda p: 2 * p.tokens, Size(per_token=2)),
        (lambda p: 4 * p.scores, Size(per_unit=4)),
        (lambda p: 6 * p.tokens + 100, Size(per_token=6, constant=100)),
        (lambda p: 8 * p.scores + 2 * p.tokens + 7, Size(2, 7, 8)),
        # Positions are shared by all rows: each row is taken to have its own.
        (lambda p: 128 * p.length, Size(per_token=128)),
        (lambda p: 2 * p.length**2, Size(per_unit=2)),
        # One number per row is taken for one of all rows.
        (lambda p: 64 * p.rows, Size(constant=64)),
    ],
)
def test_a_form_is_found_from_three_sizes(form, expected: Size) -> None:
    """1 x 256, 1 x 512 and 2 x 256 tokens tell the terms apart."""
    assert affine([form(point) for point in POINTS], POINTS) == expected


@pytest.mark.parametrize("rows", [ANY, ONE, SEVERAL])
def test_every_set_of_sizes_tells_the_three_terms_apart(rows) -> None:
    """Also one row of three lengths, and several rows alone."""
    points = rows.times(64)
    form = Size(3, 50, 2)
    assert affine([at(form, point) for point in points[:3]], points[:3]) == form
    assert len({(point.rows, point.length) for point in points}) == 4


def test_bytes_that_grow_otherwise_are_refused() -> None:
    """Tokens squared and halves are no whole form."""
    with pytest.raises(NotAffine, match="1 x 256, 1 x 512, 2 x 256 tokens"):
        affine([1000, 2001, 2000], POINTS)


def test_bytes_at_a_size() -> None:
    """3 tokens of 2 bytes, 10 fixed, and 9 scores of 4 bytes."""
    assert at(Size(2, 10, 4), Point(1, 3)) == 3 * 2 + 10 + 9 * 4
