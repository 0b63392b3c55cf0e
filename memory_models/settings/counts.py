"""Bounds of what settings count."""

from __future__ import annotations

LARGEST_COUNT = 2**24
"""Most rows, steps or processes that one setting may count: far above every run, and small enough
that what is tried for each of its divisors takes no time."""


def at_least_one(record: object, *names: str) -> None:
    """Refuse a field below 1, or above what a run can count.

    Raises:
        ValueError: names the field and its value.
    """
    for name in names:
        value = getattr(record, name)
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
        if value > LARGEST_COUNT:
            raise ValueError(f"{name} must be at most {LARGEST_COUNT}, not {value}")
