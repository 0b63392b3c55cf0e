"""Units: sizes are bytes in the code, and GiB (2**30 bytes) for people."""

from __future__ import annotations

KIB = 1024
MIB = 1024**2
GIB = 1024**3

TWO_DIGITS_BELOW = 10
"""GiB under which a size is shown with two digits after the point, so that it keeps three."""
MIB_BELOW = GIB / 10
"""Bytes under which a size reads better in MiB."""


def ceil_div(numerator: int, denominator: int) -> int:
    """Smallest integer not below ``numerator / denominator``."""
    return -(-numerator // denominator)


def round_up(value: int, multiple: int) -> int:
    """Smallest multiple of ``multiple`` that is not below ``value``."""
    return ceil_div(value, multiple) * multiple


def format_gib(count: float | None, *, unit: bool = False, digits: int | None = None) -> str:
    """Bytes as a figure in GiB; a dash for an unknown size.

    ``unit`` adds the word GiB. ``digits`` after the point; None: one, or two under 10 GiB.
    """
    if count is None:
        return "-"
    value = count / GIB
    if digits is None:
        digits = 2 if value < TWO_DIGITS_BELOW else 1
    return f"{value:.{digits}f}" + (" GiB" if unit else "")


def format_bytes(count: int) -> str:
    """Bytes with the unit that reads best: GiB, or MiB for less than a tenth of a GiB."""
    return format_gib(count, unit=True) if count >= MIB_BELOW else f"{count / MIB:.0f} MiB"
