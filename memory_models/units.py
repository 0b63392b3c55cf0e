"""Units: the code counts bytes, and people read GiB (2**30 bytes)."""

from __future__ import annotations

from functools import lru_cache
from math import isqrt

KIB = 1024
MIB = 1024**2
GIB = 1024**3

TWO_DIGITS_BELOW = 10
"""Sizes below this number of GiB are shown with two digits after the point, three in all."""
MIB_BELOW = GIB / 10
"""Sizes below this number of bytes are shown in MiB."""


def ceil_div(numerator: int, denominator: int) -> int:
    """Smallest integer not below ``numerator / denominator``."""
    return -(-numerator // denominator)


def round_up(value: int, multiple: int) -> int:
    """Smallest multiple of ``multiple`` that is not below ``value``."""
    return ceil_div(value, multiple) * multiple


@lru_cache(maxsize=1024)
def divisors(number: int, most: int) -> tuple[int, ...]:
    """The divisors of a positive number up to ``most``, ascending."""
    found: set[int] = set()
    # Each divisor above the square root has its other half below it.
    for small in range(1, min(most, isqrt(number)) + 1):
        if number % small == 0:
            found |= {small, number // small}
    return tuple(sorted(each for each in found if each <= most))


def counted(count: float, noun: str) -> str:
    """A number with its noun: ``1 epoch``, ``1,200 epochs``, ``2 passes``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun}{'es' if noun.endswith(('ss', 'tch')) else 's'}"


def format_gib(count: float | None, *, unit: bool = False, digits: int | None = None) -> str:
    """A number of bytes in GiB as text; a dash for an unknown size.

    ``unit`` adds the word GiB. ``digits``: digits after the point; None: one, or two below 10 GiB.
    """
    if count is None:
        return "-"
    value = count / GIB
    if digits is None:
        digits = 2 if value < TWO_DIGITS_BELOW else 1
    return f"{value:,.{digits}f}" + (" GiB" if unit else "")


def format_bytes(count: int) -> str:
    """A number of bytes as text with its unit: GiB, or MiB below a tenth of a GiB."""
    return format_gib(count, unit=True) if count >= MIB_BELOW else f"{count / MIB:.0f} MiB"
