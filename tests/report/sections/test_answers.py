"""The section of the answers that a run gave on its way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tests.support.hand_made import trained
from tsplanner.report.build_page import About, build_page
from tsplanner.report.messages.translate import Language
from tsplanner.report.page import Folded, Section
from tsplanner.report.records.answers import SampledAnswer
from tsplanner.report.records.run_record import RunSummary
from tsplanner.report.render.html import html
from tsplanner.report.render.markdown import markdown_page
from tsplanner.report.runs_table import document
from tsplanner.report.sections.answers import MOST_EVALUATIONS, answers

SCRIPT = "<script>alert('{step}')</script>"


def answered(folder: Path, *steps: int, rows: int = 1) -> RunSummary:
    """A run that answered after these steps."""
    made = tuple(
        SampledAnswer(
            step=step,
            row=row,
            prompt=f"ask {row} {SCRIPT}",
            expected="**yes**",
            answer=f"{SCRIPT} at {step}",
            cut=step > 0,
        )
        for step in steps
        for row in range(1, rows + 1)
    )
    run = trained(folder)
    return replace(run, losses=replace(run.losses, answers=made))


def folds(section: Section | None) -> list[Folded]:
    """What a reader unfolds."""
    assert section is not None
    return [block for block in section.blocks if isinstance(block, Folded)]


def page(run: RunSummary, folder: Path, language: Language = Language.EN) -> str:
    """The page of one run."""
    about = About(saves=folder, when="now", version="1")
    return html(build_page([run], about), language)


def test_each_evaluation_folds_and_texts_stay_texts(tmp_path: Path) -> None:
    """A model may write what a browser would run; no brace of it is filled in."""
    found = page(answered(tmp_path, 0, 5, rows=2), tmp_path)
    assert "<summary>The prompts</summary>" in found
    assert "<summary>Before the first step</summary>" in found
    assert "<summary>After step 5</summary>" in found
    assert "<script>" not in found
    # Two prompts, and two answers of each of two evaluations.
    assert found.count("&lt;script&gt;alert(&#39;{step}&#39;)&lt;/script&gt;") == 6
    assert "at 5 … (cut)" in found
    assert "at 0 …" not in found


def test_the_section_speaks_chinese(tmp_path: Path) -> None:
    """Headings, folds and columns."""
    found = page(answered(tmp_path, 0, 5), tmp_path, Language.ZH)
    for text in ("回答", "首步之前", "第 5 步之后", "参考回答", "（已截断）"):
        assert text in found


def test_markdown_has_the_answers_under_headings(tmp_path: Path) -> None:
    """Nothing folds there, and no sign of an answer is a sign of Markdown's."""
    about = About(saves=tmp_path, when="now", version="1")
    found = markdown_page(build_page([answered(tmp_path, 5)], about), Language.EN)
    assert "### After step 5" in found
    assert r"\*\*yes\*\*" in found


def test_very_many_evaluations_are_left_out_but_for_the_first_and_the_last(tmp_path: Path) -> None:
    """Of 30 evaluations the page has 24: the first one and those of steps 8 to 30."""
    section = answers(answered(tmp_path, *range(1, 31)))
    shown = [fold.summary.values["step"] for fold in folds(section)[1:]]  # type: ignore[union-attr]
    assert shown == [str(step) for step in (1, *range(8, 31))]
    assert len(shown) == MOST_EVALUATIONS
    text = page(answered(tmp_path, *range(1, 31)), tmp_path)
    assert "Left out here: 6 evaluations after the first one" in text


def test_a_run_without_answers_has_no_section(tmp_path: Path) -> None:
    """Nor does a page over several runs, each of which has a page of its own."""
    assert answers(trained(tmp_path)) is None
    run, about = answered(tmp_path, 5), About(saves=tmp_path, when="now", version="1")
    assert "answers" in [section.name for section in build_page([run], about).sections]
    both = build_page([run, replace(run, name="other")], about)
    assert "answers" not in [section.name for section in both.sections]


def test_a_program_reads_the_answers_of_the_last_evaluation(tmp_path: Path) -> None:
    """In the run's document of report --json."""
    found = document(answered(tmp_path, 0, 5, rows=2))
    assert [(each["step"], each["row"]) for each in found["answers"]] == [(5, 1), (5, 2)]
    assert document(trained(tmp_path))["answers"] == []
    assert json.dumps(found)
