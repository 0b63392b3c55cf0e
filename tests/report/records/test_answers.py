"""Answers of a run folder, whatever a crash or another program left in the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tsplanner.report.records.answers import LONGEST_TEXT, SampledAnswer, read_answers

LINE: dict[str, Any] = {"step": 5, "row": 2, "prompt": "p", "expected": "e", "answer": "a"}


def write(folder: Path, *lines: Any, torn: str = "") -> Path:
    """A run folder with these lines, and a last one that was cut off."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "answers.jsonl").write_text(text + torn)
    return folder


def test_answers_come_in_the_order_of_steps_and_rows(tmp_path: Path) -> None:
    """The torn last line is left out."""
    lines = [LINE, {**LINE, "step": 0}, {**LINE, "row": 1, "cut": True}]
    found = read_answers(write(tmp_path, *lines, torn='{"step": 9, "row": 1, "pro'))
    assert [(each.step, each.row, each.cut) for each in found] == [
        (0, 2, False),
        (5, 1, True),
        (5, 2, False),
    ]
    assert found[2] == SampledAnswer(step=5, row=2, prompt="p", expected="e", answer="a")


def test_of_two_answers_to_one_row_the_later_one_counts(tmp_path: Path) -> None:
    """Whoever wrote both."""
    (found,) = read_answers(write(tmp_path, LINE, {**LINE, "answer": "b"}))
    assert found.answer == "b"


def test_lines_of_another_form_are_left_out(tmp_path: Path) -> None:
    """Numbers for texts, texts for numbers, and what is no object."""
    strange = [
        {**LINE, "step": True},
        {**LINE, "row": -1},
        {**LINE, "row": 1.5},
        {**LINE, "answer": None},
        [1],
        {},
    ]
    assert read_answers(write(tmp_path, *strange)) == ()
    assert read_answers(tmp_path / "nowhere") == ()


def test_a_text_without_end_is_shortened(tmp_path: Path) -> None:
    """A page stays small."""
    (found,) = read_answers(write(tmp_path, {**LINE, "prompt": "x" * 10_000}))
    assert len(found.prompt) == LONGEST_TEXT + 3
