"""Units: bytes inside, GiB (2**30) to people."""

from __future__ import annotations

KIB = 1024
MIB = 1024**2
GIB = 1024**3


def ceil_div(numerator: int, denominator: int) -> int:
    """Smallest integer not below ``numerator / denominator``."""
    return -(-numerator // denominator)


def round_up(value: int, multiple: int) -> int:
    """Smallest multiple of ``multiple`` that is not below ``value``."""
    return ceil_div(value, multiple) * multiple
