"""A set of digests in an array."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsplanner.datasets.lengths import duplicates
from tsplanner.datasets.lengths.duplicates import SeenRows


@given(digests=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(1, 5), max_size=300))
def test_a_digest_is_known_from_its_second_time_on(digests: list[int]) -> None:
    """As Python's own set would have it; 0 is the same as 1."""
    seen, own = SeenRows(), set()
    for digest in digests:
        assert seen.add(digest) == ((digest or 1) in own)
        own.add(digest or 1)


def test_the_table_grows_with_its_rows() -> None:
    """Ten thousand digests need more than the first 4,096 slots, and all stay known."""
    seen = SeenRows()
    assert not any(seen.add(digest) for digest in range(1, 10_001))
    assert all(seen.add(digest) for digest in range(1, 10_001))
    assert len(seen._slots) == 16_384


def test_a_full_table_notes_no_more_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays bounded: what was noted stays known, later rows are not noted."""
    monkeypatch.setattr(duplicates, "MOST_SLOTS", duplicates.FIRST_SLOTS)
    seen = SeenRows()
    for digest in range(1, 5000):
        seen.add(digest)
    assert len(seen._slots) == duplicates.FIRST_SLOTS
    assert seen.add(1)
    assert not seen.add(4999)
    assert not seen.add(4999)
