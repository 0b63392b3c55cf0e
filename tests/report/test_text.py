"""Figures as people read them."""

from __future__ import annotations

from memory_models.units import format_bytes, format_gib
from tsplanner.report.text import (
    duration,
    loss,
    number,
    off,
    parameters,
    percent,
    rate,
    seconds,
    table,
)


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


def test_seconds_and_shares_read_well() -> None:
    """Three digits of seconds, whole percent, and no division by a measurement of zero."""
    assert [seconds(value) for value in (0.12345, 12.0, None)] == ["0.123 s", "12 s", "-"]
    assert [percent(share) for share in (0.15, 0.004, 1.0)] == ["15 %", "0 %", "100 %"]
    assert [off(1.0, None), off(1.0, 0.0), off(3.0, 2.0)] == ["-", "-", "+50.0 %"]
    assert [loss(value) for value in (0.41234, None)] == ["0.4123", "-"]


def test_a_duration_changes_its_unit_where_it_reads_better() -> None:
    """89 s, then 2 min from 90 s on; 89 min, then 1.5 h from 90 min on."""
    assert [duration(value) for value in (89, 90, 89 * 60, 90 * 60)] == [
        "89 s",
        "2 min",
        "89 min",
        "1.5 h",
    ]


def test_columns_of_a_table_line_up() -> None:
    """Names stand left and figures right; no line ends in spaces."""
    assert table([["a", "1", ""], ["bbb", "22", "x"]]) == ["a     1", "bbb  22  x"]
    assert table([["a", "b"], ["ccc", "dd"]], left=2) == ["a    b", "ccc  dd"]
