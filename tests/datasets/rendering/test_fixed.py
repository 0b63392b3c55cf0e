"""Models without a template of their own: plain headings, and ChatTS's fixed template."""

from __future__ import annotations

from tests.support.rows import conversation
from tsplanner.datasets.records import Conversation, Role, Turn
from tsplanner.datasets.rendering.fixed import ChatTSRenderer, PlainRenderer
from tsplanner.datasets.rendering.pieces import Piece, Renderer, joined


def learned(renderer: Renderer, row: Conversation) -> list[str]:
    """The texts that carry loss."""
    return [piece.text for piece in renderer.pieces(row) if piece.learned]


def test_every_series_has_its_own_figures_before_its_mark() -> None:
    """Two series, two prefixes, in the order of the series."""
    row = conversation("A <ts><ts/> B <ts><ts/> C", "", ((0.0,), (0.0, 0.0)))
    text = joined(ChatTSRenderer().pieces(row))
    assert text.index("user\nA [offset=") < text.index("length=1") < text.index("length=2")
    assert "]<ts><ts/> C<|im_end|>\n<|im_start|>assistant" in text


def test_chatts_has_one_fixed_template() -> None:
    """System text, question and answer, as ChatTS was trained; the last line end has no loss."""
    pieces = ChatTSRenderer().pieces(conversation("Hello", "Hi"))
    assert joined(pieces) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nHi<|im_end|>\n"
    )
    assert learned(ChatTSRenderer(), conversation("Hello", "Hi")) == ["Hi<|im_end|>"]


def test_series_of_later_turns_get_the_later_figures() -> None:
    """The second question speaks of the second series."""
    turns = (
        Turn(role=Role.SYSTEM, content="Be short."),
        Turn(role=Role.USER, content="<ts><ts/>?"),
        Turn(role=Role.ASSISTANT, content="Up."),
        Turn(role=Role.USER, content="And <ts><ts/>?"),
        Turn(role=Role.ASSISTANT, content="Down."),
    )
    row = Conversation(turns=turns, timeseries=((1.0,), (2.0, 3.0)), line=1)
    text = joined(ChatTSRenderer().pieces(row))
    assert text.startswith("<|im_start|>system\nBe short.<|im_end|>\n")
    assert text.index("length=1") < text.index("Up.") < text.index("length=2")
    assert learned(ChatTSRenderer(), row) == ["Up.<|im_end|>", "Down.<|im_end|>"]


def test_plain_headings_end_an_answer_with_the_end_token() -> None:
    """A base model learns where to stop."""
    pieces = PlainRenderer("</s>").pieces(conversation("Hi", "Hello"))
    assert joined(pieces) == "### Question:\nHi\n\n### Answer:\nHello</s>"
    assert pieces[-1] == Piece(text="Hello</s>", learned=True, turn=1)


def test_plain_text_is_learned_whole() -> None:
    """A row of text alone has no turns."""
    row = Conversation(text="Once upon a time", line=1)
    assert learned(PlainRenderer("</s>"), row) == ["Once upon a time</s>"]


def test_rows_without_a_template_stand_behind_the_begin_token() -> None:
    """As a text does that the tokenizer is given alone; the token itself carries no loss."""
    renderer = PlainRenderer("</s>")
    renderer.begin = "<s>"
    assert joined(renderer.pieces(conversation("Hi", "Hello"))).startswith("<s>### Question:")
    text = renderer.pieces(Conversation(text="Once", line=1))
    assert [(piece.text, piece.learned) for piece in text] == [("<s>", False), ("Once</s>", True)]
