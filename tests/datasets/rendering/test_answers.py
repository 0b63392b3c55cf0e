"""An answer reaches from the end of the prompt to the end of its turn."""

from __future__ import annotations

import pytest

from tsplanner.datasets.rendering.answers import answer_of, prompt_of, shared_start


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("<|a|>x", "<|a|>y", "<|a|>"),
        # Two marks that begin alike are two marks.
        ("<|a|><|end|>", "<|a|><|user|>", "<|a|>"),
        ("x [INST", "x [INST] y", "x [INST"),
        ("ab", "cd", ""),
    ],
)
def test_texts_share_whole_marks(one: str, other: str, shared: str) -> None:
    """A mark that only begins alike is not shared, unless a text ends there."""
    assert one[: shared_start(one, other)] == shared


def test_the_prompt_is_what_follows_the_last_turn() -> None:
    """Or what a finished conversation lacks, where it stands inside the turn."""
    assert prompt_of("<q>hi<a>", "<q>hi</s>", 5) == "<a>"
    assert prompt_of("<q>hi<a>", "<q>hi", 8) == "<a>"
    assert prompt_of("<q>hi", "<q>hi", 5) == ""


@pytest.mark.parametrize(
    ("turn", "prompts", "answer"),
    [
        ("<a>Yes</a>\n", ("<a>",), "Yes</a>"),
        # A finished turn has only the beginning of the prompt.
        ("<a>Yes</a>\n", ("<a><think>\n",), "Yes</a>"),
        # The prompt begins with white space that belongs to the turn before.
        ("Answer: Yes\n\n", ("\n\nAnswer: ", "Answer: "), "Yes"),
        (" Yes</s>", ("",), " Yes</s>"),
        ("<a>  \n", ("<a>",), ""),
    ],
)
def test_an_answer_begins_behind_the_prompt(
    turn: str, prompts: tuple[str, ...], answer: str
) -> None:
    """It ends before the white space behind its turn."""
    text = "before" + turn + "behind"
    start, end = answer_of(text, (6, 6 + len(turn)), prompts)
    assert text[start:end] == answer
