"""Figures as people read them."""

from __future__ import annotations


def seconds(value: float | None) -> str:
    """Seconds with three significant digits; a dash for unknown."""
    return "-" if value is None else f"{value:.3g} s"


def duration(value: float) -> str:
    """A duration in seconds, minutes or hours, whichever reads best."""
    if 0.05 <= value < 1:
        return f"{value:.1f} s"  # a short run is not one of no length
    if value < 90:
        return f"{value:.0f} s"
    if value < 90 * 60:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.1f} h"


def off(predicted: float, measured: float | None) -> str:
    """Difference of prediction and measurement in percent of the measurement; a dash for none."""
    return "-" if not measured else f"{100 * (predicted - measured) / measured:+.1f} %"


def loss(value: float | None) -> str:
    """A loss with four digits; a dash for none."""
    return "-" if value is None else f"{value:.4f}"


def table(rows: list[list[str]], *, left: int = 1) -> list[str]:
    """Aligned lines of a table: the first ``left`` columns flush left, the others flush right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def number(value: float | None) -> str:
    """Three significant digits without an exponent where it can be; a dash for none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def rate(value: float | None) -> str:
    """Samples per second with four significant digits, as trainers log the rate."""
    return "-" if value is None else f"{value:.4g}"


def parameters(count: int | None) -> str:
    """A count of parameters in B, M or as it is; a dash for unknown."""
    if count is None:
        return "-"
    for unit, size in (("B", 1e9), ("M", 1e6)):
        if count >= 0.9995 * size:  # 999.9 million are written as 1 billion
            return f"{count / size:.3g}{unit}"
    return f"{count:,}"


def percent(share: float) -> str:
    """A share in whole percent."""
    return f"{100 * share:.0f} %"
