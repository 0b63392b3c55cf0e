"""Runs to a page: which sections there are, and in what order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from memory_models.frozen import frozen
from tsplanner.report.page import Page, Paragraph, Section, words
from tsplanner.report.records.comparable import Axis
from tsplanner.report.records.progress import Progress
from tsplanner.report.records.run_record import LeftOut, RunSummary
from tsplanner.report.sections import overview
from tsplanner.report.sections import per_run as of_runs
from tsplanner.report.sections.answers import answers
from tsplanner.report.sections.comparisons import comparison
from tsplanner.report.sections.headline import headline
from tsplanner.report.sections.progress import progress
from tsplanner.report.sections.search import searches


@frozen
class About:
    """What a page says of itself."""

    saves: Path
    when: str
    version: str
    left_out: tuple[LeftOut, ...] = ()


def build_page(runs: Sequence[RunSummary], about: About) -> Page:
    """The page over any number of runs; of one alone there is nothing to compare."""
    first = overview.about(
        runs, about.left_out, about.saves, when=about.when, version=about.version
    )
    if not runs:
        nothing = Section(
            name="results",
            heading=words("section_results"),
            blocks=(Paragraph(text=words("no_runs")),),
        )
        return Page(title=words("title_runs", saves=str(about.saves)), sections=(first, nothing))
    title = words("title_runs", saves=str(about.saves))
    if len(runs) == 1:
        title = words("title_run", run=runs[0].name)
    ordered = [
        headline(runs),
        overview.results(runs),
        searches(runs),
        of_runs.advice(runs),
        *(comparison(axis, runs) for axis in Axis if len(runs) > 1),
        of_runs.curves(runs),
        answers(runs[0]) if len(runs) == 1 else None,
        of_runs.memory(runs),
        of_runs.plans(runs),
        of_runs.learning(runs[0]) if len(runs) == 1 else None,
        of_runs.records(runs),
        first,
    ]
    return Page(title=title, sections=tuple(section for section in ordered if section is not None))


def live_page(found: Sequence[Progress], page: Page, where: Path) -> Page:
    """A page of the report under the progress of what is not over.

    The results of a run that is not over are its progress, and there is no advice before anything
    was evaluated.
    """
    alone = found[0] if len(found) == 1 and found[0].folder == where else None
    rest = page.sections
    if alone is not None and alone.is_open:
        evaluated = any(section.name == "headline" for section in rest)
        hidden = {"results"} if evaluated else {"results", "advice"}
        rest = tuple(section for section in rest if section.name not in hidden)
    title = page.title if alone is None else words("title_run", run=alone.name)
    return Page(title=title, sections=(progress(found, where, drawn=alone is None), *rest))
