"""Where an answer lies in a rendered text: from the end of the prompt to the end of its turn."""

from __future__ import annotations

import re
from os.path import commonprefix

from tsplanner.datasets.rendering.marks import Span

_UNFINISHED_MARK = re.compile(r"[<\[][^<>\[\]\s]*\Z")
"""The beginning of a mark such as ``<|user|>`` or ``[INST]`` at the end of a text."""


def shared_start(one: str, other: str) -> int:
    """Characters that two texts begin with alike; a mark that only begins alike does not count."""
    shared = commonprefix((one, other))  # noqa: RUF071 these are texts
    if len(shared) < min(len(one), len(other)) and (cut := _UNFINISHED_MARK.search(shared)):
        return cut.start()
    return len(shared)


def prompt_of(opened: str, finished: str, last_turn_ends: int) -> str:
    """The start of an answer that a template writes for a model to go on from.

    ``opened`` is a conversation with that start, ``finished`` the same without it. All that follows
    the last turn belongs to it, such as the mark that DeepSeek-V3 closes the answers of tools with.
    Where a template writes the start inside the last turn, it is what ``finished`` lacks.
    """
    return opened[last_turn_ends:] or opened[shared_start(opened, finished) :]


def answer_of(text: str, turn: Span, prompts: tuple[str, ...]) -> Span:
    """The part of an assistant's turn that the model writes itself.

    It begins behind the first of ``prompts`` that the turn begins with. A template may write only
    the beginning of a prompt in a finished turn; the part that both have counts then. It ends
    before the white space at the end of the turn.
    """
    start, end = turn
    written = text[start:end]
    shared = next((found for prompt in prompts if (found := shared_start(written, prompt))), 0)
    return start + shared, start + max(shared, len(written.rstrip()))
