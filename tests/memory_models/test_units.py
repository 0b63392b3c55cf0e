"""Units and the storage of elements."""

from __future__ import annotations

import pytest

from memory_models.units import (
    GIB,
    KIB,
    MIB,
    ceil_div,
    counted,
    divisors,
    format_bytes,
    format_gib,
    round_up,
)


def test_a_gib_is_two_to_the_thirtieth() -> None:
    """GiB to people means 2**30 bytes, never 10**9."""
    assert (KIB, MIB, GIB) == (1024, 1_048_576, 1_073_741_824)


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (1, 512), (512, 512), (513, 1024)])
def test_rounding_up_reaches_the_next_multiple_and_no_further(value: int, expected: int) -> None:
    """The allocator's 512-byte blocks are whole."""
    assert round_up(value, 512) == expected


def test_division_rounds_up() -> None:
    """A shard holds its part of the remainder too."""
    assert [ceil_div(value, 4) for value in (0, 1, 4, 5)] == [0, 1, 1, 2]


def test_sizes_are_shown_in_gib_with_three_digits() -> None:
    """One digit after the point, two under 10 GiB; a dash for an unknown size."""
    assert format_gib(12 * GIB) == "12.0"
    assert format_gib(12 * GIB, unit=True) == "12.0 GiB"
    assert format_gib(GIB // 2) == "0.50"
    assert format_gib(GIB // 2, digits=1) == "0.5"
    assert format_gib(None) == format_gib(None, unit=True) == "-"


def test_small_sizes_are_shown_in_mib() -> None:
    """Less than a tenth of a GiB is a count of MiB."""
    assert format_bytes(GIB // 2) == "0.50 GiB"
    assert format_bytes(9 * MIB) == "9 MiB"


@pytest.mark.parametrize(
    ("number", "most", "found"),
    [
        (12, 12, (1, 2, 3, 4, 6, 12)),
        (12, 5, (1, 2, 3, 4)),
        (7, 100, (1, 7)),
        (36, 6, (1, 2, 3, 4, 6)),
    ],
)
def test_divisors_are_those_up_to_a_limit(number: int, most: int, found: tuple[int, ...]) -> None:
    """Ascending, the square root once."""
    assert divisors(number, most) == found


def test_divisors_of_a_large_number_take_no_time() -> None:
    """2**40 has 41 divisors; counting up to it would take hours."""
    assert divisors(2**40, 2**40) == tuple(2**power for power in range(41))


def test_one_of_a_thing_is_not_several() -> None:
    """A number agrees with its noun."""
    said = [counted(count, "epoch") for count in (0, 1, 2, 1200)]
    assert said == ["0 epochs", "1 epoch", "2 epochs", "1,200 epochs"]
