"""The report as files: HTML and Markdown, in English and Chinese, and a picture of each curve."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

from memory_models.frozen import frozen
from tsplanner import __version__, runs
from tsplanner.folders.owner import may_be_led
from tsplanner.report.build_page import About, build_page
from tsplanner.report.messages.translate import Language, translate
from tsplanner.report.page import LineChart, Page, Remark
from tsplanner.report.records.read_runs import read_run
from tsplanner.report.records.run_record import Found, RunSummary
from tsplanner.report.render.charts import svg_file
from tsplanner.report.render.html import html
from tsplanner.report.render.markdown import markdown_page
from tsplanner.report.sections.per_run import curve_chart, detailed

STEM = "report"
CURVE_FILE = "loss.svg"


class Format(StrEnum):
    """A format of the report."""

    HTML = "html"
    MARKDOWN = "md"


@frozen
class Wanted:
    """Where to write a report, and in which formats and languages."""

    output: Path
    formats: tuple[Format, ...] = tuple(Format)
    languages: tuple[Language, ...] = tuple(Language)
    pictures: bool = True
    """Also write the curve of each run into its folder, which Markdown needs."""


def file_name(kind: Format, language: Language) -> str:
    """report.html, report.zh-CN.html and so on."""
    infix = "" if language is Language.EN else f".{language}"
    return f"{STEM}{infix}.{kind}"


def now() -> str:
    """The present time with its zone."""
    return time.strftime("%Y-%m-%d %H:%M %z")


def write_report(found: Found, saves: Path, wanted: Wanted, *, when: str) -> list[Path]:
    """Write every file and return the paths. Raises TsplannerError for an error of the disk."""
    about = About(saves=saves, when=when, version=__version__, left_out=found.left_out)
    page = build_page(found.runs, about)
    with runs.clear_disk_errors(wanted.output):
        wanted.output.mkdir(parents=True, exist_ok=True)
    pictures = write_pictures(found.runs, saves) if wanted.pictures else {}
    images = {
        title: quote(os.path.relpath(path, wanted.output)) for title, path in pictures.items()
    }
    return written(page, wanted, images)


def written(page: Page, wanted: Wanted, images: dict[str, str]) -> list[Path]:
    """Write a page in every format and language that is wanted; each names the other language."""
    paths = []
    for kind in wanted.formats:
        for language in wanted.languages:
            path = wanted.output / file_name(kind, language)
            others = [each for each in wanted.languages if each is not language]
            other = file_name(kind, others[0]) if others else None
            runs.write_text(path, rendered(page, kind, language, images=images, other=other))
            paths.append(path)
    return paths


def rendered(
    page: Page,
    kind: Format,
    language: Language,
    *,
    images: dict[str, str],
    other: str | None,
) -> str:
    """The page in a format and a language."""
    if kind is Format.HTML:
        return html(page, language, other)
    return markdown_page(page, language, images=images, other=other)


def write_pictures(found: Sequence[RunSummary], saves: Path) -> dict[str, Path]:
    """Write loss.svg for the runs that have a chart; the paths by the titles of the charts."""
    paths = {}
    for run in detailed(found):
        chart: LineChart | None = curve_chart(found, run)
        path = saves / run.name / CURVE_FILE
        # A link may lead to a folder that is not ours to write into.
        inside = path.resolve().is_relative_to(saves.resolve())
        if run.plan is not None and chart is not None and inside:
            if may_be_led(path.parent):
                continue  # only the process that leads a run writes into its folder
            runs.write_text(path, svg_file(chart, Language.EN))
            paths[translate(chart.title, Language.EN)] = path
    return paths


def write_run_report(folder: Path, saves: Path, remarks: Sequence[Remark] = ()) -> list[Path]:
    """report.html and report.md of one run in both languages, and loss.svg, into its own folder.

    ``remarks`` are sentences about the run, such as the decision of a search.
    """
    run = read_run(folder, saves, tuple(remarks))
    found = Found(runs=(run,)) if isinstance(run, RunSummary) else Found(runs=())
    page = build_page(found.runs, About(saves=saves, when=now(), version=__version__))
    images = {}
    for one in found.runs:
        chart = curve_chart(found.runs, one)
        if chart is not None:
            runs.write_text(folder / CURVE_FILE, svg_file(chart, Language.EN))
            images[translate(chart.title, Language.EN)] = CURVE_FILE
    return written(page, Wanted(output=folder), images)
