"""Rows as a model sees them."""

from __future__ import annotations

from pathlib import Path

from tests.support.rows import conversation
from tsplanner.datasets.records import Conversation, Role, ToolCall, Turn
from tsplanner.datasets.rendering.fixed import BareRenderer, ChatTSRenderer, PlainRenderer
from tsplanner.datasets.shown import IGNORED_LABEL, Part, RowViewer, ShownRow
from tsplanner.datasets.tokens.library import library_tokenizer, whole_encoder
from tsplanner.datasets.tokens.rows import Encode

TINY = Path("configs/models/tiny-chatts")


def letters(text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """A token for every letter, whose id is its code."""
    return [ord(sign) for sign in text], [(place, place + 1) for place in range(len(text))]


def pairs(text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """A token for every two letters."""
    places = range(0, len(text), 2)
    return [place for place in places], [(place, min(place + 2, len(text))) for place in places]


def row(encode: Encode | None, cutoff_len: int = 100) -> ShownRow:
    """The row Q, A of a model with plain headings."""
    return RowViewer(PlainRenderer("$"), encode, cutoff_len).row(conversation("Q", "A"))


def parts(shown: ShownRow) -> list[tuple[str, Part]]:
    """Texts and what becomes of them."""
    return [(each.text, each.part) for each in shown.stretches]


def test_ids_and_labels_stand_beside_the_text() -> None:
    """The answer and the end token are learned."""
    shown = row(letters)
    before = "### Question:\nQ\n\n### Answer:\n"
    assert parts(shown) == [(before, Part.READ), ("A$", Part.LEARNED)]
    assert list(shown.ids or ()) == [ord(sign) for sign in before + "A$"]
    assert list(shown.labels or ()) == [IGNORED_LABEL] * len(before) + [ord("A"), ord("$")]
    assert (shown.learned_tokens, shown.tokens_cut) == (2, 0)


def test_a_token_that_spans_the_start_of_an_answer_is_learned_whole() -> None:
    """The heading has 29 letters: the token of letters 28 and 29 holds the line end and the A."""
    shown = row(pairs)
    assert parts(shown)[-1] == ("\nA$", Part.LEARNED)
    assert shown.learned_tokens == 2


def test_what_is_beyond_the_cutoff_is_shown_as_cut() -> None:
    """Of 31 tokens 16 are left: the answer's two, and the first 14 of the question."""
    shown = row(letters, cutoff_len=16)
    assert parts(shown) == [
        ("### Question:\n", Part.READ),
        ("Q\n\n### Answer:\n", Part.CUT),
        ("A$", Part.LEARNED),
    ]
    assert len(shown.ids or ()) == 16
    assert shown.tokens_cut == 15
    assert shown.learned_tokens == 2


def test_without_a_tokenizer_the_template_still_shows_what_is_learned() -> None:
    """But no tokens."""
    shown = RowViewer(ChatTSRenderer(), None, 10).row(conversation("Q", "A"))
    assert parts(shown)[-2:] == [("A<|im_end|>", Part.LEARNED), ("\n", Part.READ)]
    assert shown.ids is None
    assert shown.labels is None


def test_without_a_template_the_turns_stand_behind_their_speakers() -> None:
    """With what only a template can write: tools, thoughts and calls."""
    call = ToolCall(name="level", arguments="{}")
    turns = (
        Turn(role=Role.USER, content="Q"),
        Turn(role=Role.ASSISTANT, thoughts="Hm.", tool_calls=(call,)),
        Turn(role=Role.TOOL, content="7"),
        Turn(role=Role.ASSISTANT, content="Seven."),
    )
    given = Conversation(turns=turns, tools="[{}]", line=1)
    shown = RowViewer(BareRenderer(), None, 10).row(given)
    assert "".join(text for text, _ in parts(shown)) == (
        "tools: [{}]\nuser: Q\nassistant: (thinks: Hm.)  (calls level with {})\ntool: 7\n"
        "assistant: Seven.\n"
    )
    assert [text for text, part in parts(shown) if part is Part.LEARNED] == [
        "(thinks: Hm.)  (calls level with {})",
        "Seven.",
    ]


def test_the_texts_of_all_stretches_are_the_rendered_row() -> None:
    """Also where several tokens share a letter, and where none holds one."""
    encode = whole_encoder(library_tokenizer(TINY))
    given = conversation("Flow 流量 <ts><ts/>  \n?", "Größe: 12 ✓", ((1.0, 2.5),))
    viewer = RowViewer(ChatTSRenderer(), encode, 2048)
    shown = viewer.row(given)
    pieces = ChatTSRenderer().pieces(given)
    assert "".join(text for text, _ in parts(shown)) == "".join(each.text for each in pieces)
    assert [text for text, part in parts(shown) if part is Part.LEARNED] == [
        "Größe: 12 ✓<|im_end|>"
    ]
