"""From the same events at several sizes to one affine form of tokens and attention scores.

Notation: B rows, S tokens per row, n = B x S, scores q = B x S x S.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from memory_models.symbolic import Size


class Point(NamedTuple):
    """One size of a micro-batch."""

    rows: int
    length: int

    @property
    def tokens(self) -> int:
        """N."""
        return self.rows * self.length

    @property
    def scores(self) -> int:
        """Attention scores of one head."""
        return self.rows * self.length**2


class Rows(NamedTuple):
    """The sizes that a recording is made at, in multiples of the shortest row."""

    points: tuple[Point, Point, Point, Point]
    """Three that a form is found from, and a fourth that it is checked at."""

    def times(self, unit: int) -> tuple[Point, ...]:
        """The sizes in tokens."""
        return tuple(Point(rows, length * unit) for rows, length in self.points)


ANY = Rows((Point(1, 1), Point(1, 2), Point(2, 1), Point(2, 3)))
ONE = Rows((Point(1, 1), Point(1, 2), Point(1, 3), Point(1, 5)))
SEVERAL = Rows((Point(2, 1), Point(2, 2), Point(4, 1), Point(3, 3)))


class NotAffine(ValueError):
    """Bytes that are no affine form of tokens and scores."""


class OtherProgram(NotAffine):
    """Layers that do other work at other sizes."""


def affine(values: Sequence[int], points: Sequence[Point]) -> Size:
    """The form that has the values at three points.

    What all rows share (positions, a mask) is taken as if every row had its own, and what a row has
    once (the padding of a convolution) as if there were no more rows than at the first point.

    Raises:
        NotAffine: there is none with whole coefficients.
    """
    lengths, squares = [p.length for p in points], [p.length**2 for p in points]
    rows = [p.rows for p in points]
    if len(set(values)) == 1:
        return Size(constant=values[0])
    for measure, place in (
        ([p.tokens for p in points], 0),
        (lengths, 0),
        ([p.scores for p in points], 2),
        (squares, 2),
        (rows, 1),
    ):
        factor = Fraction(values[0], measure[0])
        if all(factor * each == value for each, value in zip(measure, values, strict=True)):
            if place == 1:
                return Size(constant=values[0])
            if factor.denominator == 1:
                return Size(int(factor)) if place == 0 else Size(per_unit=int(factor))
    return _solved(values, points)


def _solved(values: Sequence[int], points: Sequence[Point]) -> Size:
    """The solution of three equations: constant + per_token n + per_unit q."""
    (n0, q0, v0), (n1, q1, v1), (n2, q2, v2) = (
        (p.tokens, p.scores, value) for p, value in zip(points, values, strict=True)
    )
    determinant = (n1 - n0) * (q2 - q0) - (n2 - n0) * (q1 - q0)
    if determinant == 0:
        raise NotAffine("three sizes that tell nothing apart")
    per_token = Fraction((v1 - v0) * (q2 - q0) - (v2 - v0) * (q1 - q0), determinant)
    per_unit = Fraction((n1 - n0) * (v2 - v0) - (n2 - n0) * (v1 - v0), determinant)
    constant = v0 - per_token * n0 - per_unit * q0
    whole = all(each.denominator == 1 for each in (per_token, per_unit, constant))
    if not whole or min(per_unit, per_token) < 0:
        by_row = _by_row(values, points)
        if by_row is not None:
            return by_row
        sizes = ", ".join(f"{p.rows} x {p.length}" for p in points)
        raise NotAffine(f"{v0}, {v1} and {v2} bytes at {sizes} tokens")
    return Size(int(per_token), int(constant), int(per_unit))


def nearest(values: Sequence[int], points: Sequence[Point]) -> Size:
    """The form that has the values at three points, or the one that misses them least.

    Some tensors grow with the number of chunks and not of tokens, squared at times; they are small.
    """
    try:
        return affine(values, points)
    except NotAffine:
        pass
    tokens, scores = [p.tokens for p in points], [p.scores for p in points]
    forms = [
        Size(constant=max(values)),
        Size(per_token=-(-values[1] // tokens[1])),
        Size(per_unit=-(-values[1] // scores[1])),
        _line(values, points),
    ]

    def miss(form: Size) -> int:
        return max(abs(at(form, p) - value) for p, value in zip(points, values, strict=True))

    return min(forms, key=miss)


def _line(values: Sequence[int], points: Sequence[Point]) -> Size:
    """The line through the first two points."""
    (n0, v0), (n1, v1) = ((p.tokens, value) for p, value in zip(points[:2], values, strict=False))
    per_token = max(0, round(Fraction(v1 - v0, n1 - n0)))
    return Size(per_token, v0 - per_token * n0)


def _by_row(values: Sequence[int], points: Sequence[Point]) -> Size | None:
    """B (per_token S + padding), where that has the values; the padding as at the first point."""
    (r0, s0, v0), (r1, s1, v1), (_, s2, v2) = (
        (p.rows, p.length, Fraction(value, p.rows)) for p, value in zip(points, values, strict=True)
    )
    if r0 != r1 or s0 == s1:
        return None
    per_token = (v1 - v0) / (s1 - s0)
    padding = v0 - per_token * s0
    whole = per_token.denominator == 1 and padding.denominator == 1
    if not whole or per_token < 0 or v2 != per_token * s2 + padding:
        return None
    return Size(int(per_token), int(padding) * r0)


def at(size: Size, point: Point) -> int:
    """Bytes of a form at a size of the micro-batch."""
    return size.per_token * point.tokens + size.constant + size.per_unit * point.scores
