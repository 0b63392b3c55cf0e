"""What is known of a family's arithmetic."""

from __future__ import annotations

from tsplanner.models.decoders import READERS
from tsplanner.models.families import FP16_TROUBLE


def test_every_row_is_of_a_family_that_is_read_and_names_its_source() -> None:
    """A wrapper's type stands beside that of its text part."""
    assert set(FP16_TROUBLE) - set(READERS) == {"gemma3"}
    for trouble in FP16_TROUBLE.values():
        assert trouble.family
        assert any(word in trouble.source for word in ("issue", "pull request"))
