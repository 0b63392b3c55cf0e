"""Figures as people read them."""

from __future__ import annotations

from memory_models.units import format_bytes, format_gib
from tsplanner.report.text import duration, number, off, parameters, rate


def test_figures_read_well() -> None:
    """GiB with one or two digits, spans in the unit that fits, errors of the measurement."""
    assert format_gib(12 * 2**30, unit=True) == "12.0 GiB"
    assert format_gib(2**29) == "0.50"
    assert format_gib(None) == "-"
    assert format_bytes(2**29) == "0.50 GiB"
    assert format_bytes(9 * 2**20) == "9 MiB"
    assert duration(45) == "45 s"
    assert duration(36 * 60) == "36 min"
    assert off(12.0, 12.5) == "-4.0 %"
    assert [number(value) for value in (0.0002, 3.0, 1589.0, None)] == ["0.0002", "3", "1,589", "-"]
    assert [rate(value) for value in (1.718, 31.861, None)] == ["1.718", "31.86", "-"]
    assert [parameters(count) for count in (14_876_137_488, 2_307_472, 900, None)] == [
        "14.9B",
        "2.31M",
        "900",
        "-",
    ]
