"""The page as one HTML file that needs nothing else."""

from __future__ import annotations

from functools import partial

from markupsafe import Markup

from memory_models.frozen import frozen
from memory_models.units import format_bytes
from tsplanner.report.messages.translate import Language, translate
from tsplanner.report.page import Block, Chart, LineChart, Original, Page, Text, words
from tsplanner.report.render.bar_chart import HATCHED, drawn_limit
from tsplanner.report.render.charts import chart
from tsplanner.report.render.templates import template


@frozen
class Live:
    """What makes a page follow a run."""

    script: str
    """Asks a server for the page anew."""
    seconds: float
    """Until the script asks again."""


def html(page: Page, language: Language, other: str | None = None, live: Live | None = None) -> str:
    """The page in a language; ``other``: the file with the other one, to link to."""
    return template("page.html.jinja").render(
        page=page,
        live=live,
        script=Markup(live.script if live else ""),
        language=language,
        other=other,
        translate=partial(_translate, language),
        is_foreign=partial(_is_foreign, language),
        kind=_kind,
        words=words,
        chart=lambda item: Markup(chart(item, language)),
        is_line_chart=_is_line_chart,
        drawn_limit=drawn_limit,
        format_bytes=format_bytes,
        hatched=HATCHED,
    )


def _translate(language: Language, text: Text) -> str:
    return translate(text, language)


def _is_foreign(language: Language, text: Text) -> bool:
    """Whether a text is English on a page that is not."""
    return isinstance(text, Original) and language is not Language.EN


def _kind(block: Block) -> str:
    """The macro that draws a block: the name of the block's class in lower case."""
    return type(block).__name__.lower()


def _is_line_chart(item: Chart) -> bool:
    return isinstance(item, LineChart)
