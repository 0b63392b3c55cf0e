"""What a row says and its text does not."""

from __future__ import annotations

import pytest

from tests.support.templates import ASK, CALLS, SAY, chat, turn
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
    assert unwritten(text, row) == missing


def test_tools_are_missed_where_the_text_is_the_same_without_them() -> None:
    """A template writes their definitions in its own way."""
    assert unwritten("Is pump 3 on?", chat(ASK), (), "Is pump 3 on?") == (Unwritten.TOOLS,)
    assert unwritten("valve(id: int) Is pump 3 on?", chat(ASK), (), "Is pump 3 on?") == ()


def test_a_call_is_looked_for_in_its_own_turn() -> None:
    """The definition of the tool names it as well, and so may a question."""
    name = CALLS.tool_calls[0].name
    text = f"tools: {name}. <a></a>"
    assert unwritten(text, chat(CALLS)) == ()
    assert unwritten(text, chat(CALLS), [(len(text) - 7, len(text))]) == (Unwritten.CALLS,)
