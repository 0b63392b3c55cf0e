"""The house stays one that a stranger can live in: its measures keep within their bars."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.house.bars import measures


def test_every_measure_of_the_house_keeps_within_its_bar() -> None:
    """``python benchmarks/house/bars.py --list`` shows the same with what stands behind each."""
    missed = {each.name: each.found or each.value for each in measures() if not each.met}
    assert missed == {}


def test_a_printed_command_that_holds_a_value_is_quoted_by_the_console() -> None:
    """Written by hand, a folder with a blank in its name becomes two words when it is pasted."""
    by_hand = re.compile(r"tsplanner [a-z]+ [^\n]*--[a-z-]+ \{")
    split = re.compile(r"tsplanner [a-z]+ (--[a-z-]+ )?\"\n\s*f\"")
    found = [
        path
        for path in Path("tsplanner").rglob("*.py")
        if by_hand.search(text := path.read_text("utf-8")) or split.search(text)
    ]
    assert found == []
