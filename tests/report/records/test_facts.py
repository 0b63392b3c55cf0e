"""Facts that two runs share, or that read differently for each of them."""

from __future__ import annotations

from tests.support.hand_made import summary
from tsplanner.report.messages.translate import Language, messages
from tsplanner.report.records.comparable import NAMED, NEEDED, Axis, pairs
from tsplanner.report.records.facts import FACTS


def test_every_fact_has_words_and_a_use() -> None:
    """A fact that nothing asks for, or that has no words, is a mistake."""
    used = {fact for table in (NEEDED, NAMED) for row in table.values() for fact in row}
    assert used == set(FACTS)
    assert used <= set(messages(Language.EN).templates)
    assert pairs(Axis.HARDWARE, [summary()]) == []
