"""Answers to held-out rows that a run gave while it trained, as its folder has them."""

from __future__ import annotations

from pathlib import Path

from memory_models.frozen import frozen
from tsplanner import runs
from tsplanner.training.job import ANSWERS_FILE

LONGEST_TEXT = 4000
"""Characters of a prompt or an answer that a report shows."""
LARGEST_NUMBER = 10**12


@frozen
class SampledAnswer:
    """What the model said to one row after one evaluation."""

    step: int
    row: int
    """Number of the row among the held-out ones, from 1."""
    prompt: str
    expected: str
    answer: str
    cut: bool = False
    """The answer had as many tokens as it may have, and did not end."""


def read_answers(folder: Path) -> tuple[SampledAnswer, ...]:
    """The answers in the order of steps and rows; lines that are torn or of another form are left
    out, and of two answers to one row and step the later one counts.
    """
    lines, _ = runs.sound_lines(folder / ANSWERS_FILE)
    found = {(each.step, each.row): each for line in lines if (each := _answer(line)) is not None}
    return tuple(found[place] for place in sorted(found))


def _answer(line: dict[str, object]) -> SampledAnswer | None:
    step, row = (_whole(line.get(name)) for name in ("step", "row"))
    prompt, expected, answer = (line.get(name) for name in ("prompt", "expected", "answer"))
    if step is None or row is None:
        return None
    if not (isinstance(prompt, str) and isinstance(expected, str) and isinstance(answer, str)):
        return None
    return SampledAnswer(
        step=step,
        row=row,
        prompt=_short(prompt),
        expected=_short(expected),
        answer=_short(answer),
        cut=line.get("cut") is True,
    )


def _whole(value: object) -> int | None:
    is_one = isinstance(value, int) and not isinstance(value, bool)
    return value if is_one and 0 <= value <= LARGEST_NUMBER else None  # type: ignore[operator, return-value]


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}..."
