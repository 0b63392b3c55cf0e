"""What a row says and its text does not."""

from __future__ import annotations

import json

import pytest

from tests.support.templates import ASK, CALLS, SAY, TOOLS, chat, turn
from tsplanner.datasets.records import Conversation
from tsplanner.datasets.rendering.pieces import Unwritten
from tsplanner.datasets.rendering.unwritten import unwritten


@pytest.mark.parametrize(
    ("row", "text", "missing"),
    [
        (chat(ASK, SAY), "Is pump 3 on? It is on.", ()),
        (chat(turn("u", ' "Is" it?\n')), 'said: "\\"Is\\" it?"', ()),
        (chat(turn("s", "Be brief."), SAY), "It is on.", (Unwritten.SYSTEM,)),
        (chat(ASK, SAY), "It is on.", (Unwritten.TURN,)),
        (chat(turn("a", "<think>Hm</think>On")), "On", (Unwritten.THOUGHTS,)),
        (chat(turn("a", "On", thoughts="Hm")), "On", (Unwritten.THOUGHTS,)),
        (chat(CALLS), "", (Unwritten.CALLS,)),
    ],
)
def test_what_is_missing_is_named_once(
    row: Conversation, text: str, missing: tuple[Unwritten, ...]
) -> None:
    """White space at the ends is no loss, nor is the writing of JSON."""
    assert unwritten(text, row, None) == missing


def test_tools_are_missed_by_their_names() -> None:
    """A template writes their definitions in its own way."""
    tools = json.loads(TOOLS)
    assert unwritten("Is pump 3 on?", chat(ASK), tools) == (Unwritten.TOOLS,)
    assert unwritten("valve(id: int) Is pump 3 on?", chat(ASK), tools) == ()
