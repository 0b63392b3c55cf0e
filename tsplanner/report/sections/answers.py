"""What a run said to a few held-out rows after each evaluation, folded."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from tsplanner.report.page import (
    Column,
    Folded,
    Paragraph,
    Section,
    Table,
    Text,
    Tone,
    words,
)
from tsplanner.report.records.answers import SampledAnswer
from tsplanner.report.records.run_record import RunSummary

MOST_EVALUATIONS = 24
"""Evaluations on a page, which stays small: the first one, and the last ones."""
NOTHING = "-"
"""Stands for an answer without a word."""


def answers(run: RunSummary) -> Section | None:
    """The prompts, then the answers of each evaluation beside what was expected."""
    made = run.losses.answers
    if not made:
        return None
    last = {each.row: each for each in made}
    by_step = [(step, list(group)) for step, group in groupby(made, lambda each: each.step)]
    left_out = max(0, len(by_step) - MOST_EVALUATIONS)
    shown = [*by_step[:1], *by_step[1 + left_out :]]
    how = words("answers_how", rows=", ".join(map(str, sorted(last))))
    some = words("answers_left_out", count=str(left_out))
    return Section(
        name="answers",
        heading=words("section_answers"),
        blocks=(
            Paragraph(text=how, tone=Tone.SMALL),
            *([Paragraph(text=some, tone=Tone.SMALL)] if left_out else []),
            Folded(summary=words("answers_prompts"), blocks=(_prompts(last),)),
            *(_evaluation(step, group) for step, group in shown),
        ),
    )


def _prompts(rows: dict[int, SampledAnswer]) -> Table:
    return _table(
        ("column_row", "column_prompt"),
        [(str(row), _shown(rows[row].prompt)) for row in sorted(rows)],
    )


def _evaluation(step: int, made: Sequence[SampledAnswer]) -> Folded:
    table = _table(
        ("column_row", "column_expected", "column_answer"),
        [(str(each.row), _shown(each.expected), _answered(each)) for each in made],
    )
    title = words("answers_at", step=str(step)) if step else words("answers_before")
    return Folded(summary=title, blocks=(table,))


def _table(headings: tuple[str, ...], rows: Sequence[tuple[Text, ...]]) -> Table:
    columns = tuple(Column(heading=words(key)) for key in headings)
    return Table(columns=columns, rows=tuple(rows))


def _answered(each: SampledAnswer) -> Text:
    return words("answers_cut", answer=each.answer) if each.cut else _shown(each.answer)


def _shown(text: str) -> str:
    return text.strip() or NOTHING
