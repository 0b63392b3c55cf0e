"""The page as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from memory_models.units import format_bytes
from tsplanner.report.messages import Language, say
from tsplanner.report.page import (
    BarChart,
    Block,
    Bullets,
    Chart,
    Charts,
    Heading,
    LineChart,
    Original,
    Page,
    Paragraph,
    Section,
    Table,
    Text,
    Tone,
    words,
)
from tsplanner.report.render.charts import STRIPES, chart, drawn_limit, swatch
from tsplanner.report.render.style import style_sheet

WIDE = 4
"""Tables of so many columns fill the page, and turn to cards on a phone."""
MOST_BESIDE_A_NAME = 8
"""Over more columns than that a row's name has a line of its own."""


def html(page: Page, language: Language, other: str | None = None) -> str:
    """The page in a language; ``other``: the file with the other one, to link to."""
    title = escape(say(page.title, language))
    links = [
        f'<a href="#{section.name}">{_inline(section.heading, language)}</a>'
        for section in page.sections
    ]
    if other:
        links.append(
            f'<a href="{escape(other)}">{escape(say(words("other_language"), language))}</a>'
        )
    body = "\n".join(_section(section, language) for section in page.sections)
    return (
        f'<!DOCTYPE html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{style_sheet()}</style>\n</head>\n<body>\n{STRIPES}\n"
        f"<main>\n<h1>{title}</h1>\n<nav>{''.join(links)}</nav>\n{body}\n</main>\n"
        "</body>\n</html>\n"
    )


def _inline(text: Text, language: Language) -> str:
    """Escaped words; what is in English alone says so."""
    said = escape(say(text, language))
    if isinstance(text, Original) and language is not Language.EN:
        return f'<span lang="en">{said}</span>'
    return said


def _section(section: Section, language: Language) -> str:
    blocks = "\n".join(_RENDERERS[type(block)](block, language) for block in section.blocks)
    heading = _inline(section.heading, language)
    return f'<section id="{section.name}">\n<h2>{heading}</h2>\n{blocks}\n</section>'


def _paragraph(block: Paragraph, language: Language) -> str:
    kind = "" if block.tone is Tone.PLAIN else f' class="{block.tone}"'
    return f"<p{kind}>{_inline(block.text, language)}</p>"


def _heading(block: Heading, language: Language) -> str:
    return f"<h3>{_inline(block.text, language)}</h3>"


def _bullets(block: Bullets, language: Language) -> str:
    kind = "" if block.tone is Tone.PLAIN else f' class="{block.tone}"'
    items = "".join(f"<li>{_inline(item, language)}</li>" for item in block.items)
    return f"<ul{kind}>{items}</ul>"


def _table(block: Table, language: Language) -> str:
    headings = [_inline(column.heading, language) for column in block.columns]
    classes = [' class="n"' if column.numeric else "" for column in block.columns]
    over = len(block.columns) > MOST_BESIDE_A_NAME
    shown = slice(1, None) if over else slice(None)
    head = "".join(
        f'<th scope="col"{kind}>{heading}</th>'
        for heading, kind in zip(headings[shown], classes[shown], strict=True)
    )
    rows = []
    for row in block.rows:
        cells = "".join(
            f'<td{kind} data-label="{heading}"><span>{_inline(cell, language)}</span></td>'
            for cell, heading, kind in zip(row[1:], headings[1:], classes[1:], strict=True)
        )
        name = _inline(row[0], language)
        if over:
            span = len(row) - 1
            rows.append(
                f'<tbody class="named"><tr><th scope="rowgroup" colspan="{span}">{name}</th></tr>'
                f"<tr>{cells}</tr></tbody>"
            )
        else:
            rows.append(f'<tbody><tr><th scope="row">{name}</th>{cells}</tr></tbody>')
    kind = ' class="wide over"' if over else ' class="wide"'
    if len(block.columns) < WIDE:
        kind = ""
    lines = [f"<table{kind}>", f"<thead><tr>{head}</tr></thead>", *rows, "</table>"]
    return "\n".join(lines)


def _charts(block: Charts, language: Language) -> str:
    figures = [
        f"<figure><figcaption>{_inline(item.title, language)}</figcaption>"
        f"{chart(item, language)}{_legend(item, language)}</figure>"
        for item in block.items
    ]
    return "\n".join(['<div class="charts">', *figures, "</div>"])


def _legend(item: Chart, language: Language) -> str:
    """What the bars' parts are; lines are named in their chart."""
    rows = [] if isinstance(item, LineChart) else _parts(item, language)
    lists = (
        f'<ul class="legend">{"".join(f"<li>{entry}</li>" for entry in row)}</ul>' for row in rows
    )
    return "".join(lists)


def _parts(item: BarChart, language: Language) -> list[list[str]]:
    """A list for every bar: its sum, its parts, its bound; what was free last."""
    rows = []
    for bar in item.bars:
        total = format_bytes(sum(part.bytes for part in bar.parts))
        entries = [f"<b>{_inline(bar.label, language)} {total}</b>"]
        if bar.upper is not None:
            entries.append(escape(say(words("bar_bound", size=format_bytes(bar.upper)), language)))
        entries += [
            f"{swatch(part.color)}{_inline(part.label, language)} {format_bytes(part.bytes)}"
            for part in bar.parts
        ]
        rows.append(entries)
    if item.limit:
        key = '<span class="limitkey"></span>' if drawn_limit(item) else ""
        rows.append([key + escape(say(words("bar_free", size=format_bytes(item.limit)), language))])
    return rows


_RENDERERS: dict[type[Block], Callable[[Any, Language], str]] = {
    Paragraph: _paragraph,
    Heading: _heading,
    Bullets: _bullets,
    Table: _table,
    Charts: _charts,
}
