"""Bytes at a few sizes as one form of tokens and scores."""

from __future__ import annotations

import pytest

from memory_models.symbolic import Size
from tsplanner.tracing.recording.fit import ANY, ONE, SEVERAL, NotAffine, Point, affine, at, nearest

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


def test_padding_of_every_row_is_taken_once_for_the_rows_of_the_first_size() -> None:
    """Two rows of 256 and two more tokens, of 64 bytes each: 2 x 2 x 64 bytes are fixed."""
    points = SEVERAL.times(256)[:3]
    values = [64 * p.rows * (p.length + 2) for p in points]
    assert affine(values, points) == Size(per_token=64, constant=256)


def test_squares_of_chunks_get_the_form_that_misses_them_least() -> None:
    """17 x 17 and 33 x 33 chunks, whatever the rows: no form has them, and none is far off."""
    points = SEVERAL.times(256)[:3]
    values = [(p.length // 16 + 1) ** 2 for p in points]
    with pytest.raises(NotAffine):
        affine(values, points)
    form = nearest(values, points)
    assert max(abs(at(form, p) - v) for p, v in zip(points, values, strict=True)) <= 1089
