"""The page as Markdown that also reads as plain text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from memory_models.frozen import frozen
from memory_models.units import format_bytes
from tsplanner.console import one_line
from tsplanner.report.messages.translate import Language, translate
from tsplanner.report.page import (
    BarChart,
    Block,
    Bullets,
    Charts,
    Figures,
    Folded,
    Heading,
    Line,
    LineChart,
    Page,
    Paragraph,
    Section,
    Table,
    Text,
    words,
)
from tsplanner.report.text import loss, number


@frozen
class Writer:
    """A language, and the picture of each chart by its title."""

    language: Language
    images: Mapping[str, str] = field(default_factory=dict)

    def escaped(self, text: Text) -> str:
        """Words that Markdown leaves as they are: a name can make no link, picture or line."""
        said = one_line(translate(text, self.language))
        # The backslash comes first, or it would double those that the other signs bring.
        for sign in "\\`*_|<>#[]":
            said = said.replace(sign, f"\\{sign}")
        return said


def markdown_page(
    page: Page,
    language: Language,
    *,
    images: Mapping[str, str] | None = None,
    other: str | None = None,
) -> str:
    """The page in a language; ``images``: file of a chart's picture by the chart's title.

    ``other``: the file with the other language, to link to.
    """
    writer = Writer(language=language, images=images or {})
    parts = [f"# {writer.escaped(page.title)}"]
    if other:
        parts.append(f"[{writer.escaped(words('other_language'))}]({other})")
    parts += [_section(section, writer) for section in page.sections]
    return "\n\n".join(parts) + "\n"


def _section(section: Section, writer: Writer) -> str:
    blocks = [_RENDERERS[type(block)](block, writer) for block in section.blocks]
    return "\n\n".join([f"## {writer.escaped(section.heading)}", *blocks])


def _paragraph(block: Paragraph, writer: Writer) -> str:
    return writer.escaped(block.text)


def _figures(block: Figures, writer: Writer) -> str:
    return "\n".join(
        f"- {writer.escaped(item.label)}: **{writer.escaped(item.value)}** "
        f"({writer.escaped(item.note)})"
        for item in block.items
    )


def _heading(block: Heading, writer: Writer) -> str:
    return f"### {writer.escaped(block.text)}"


def _bullets(block: Bullets, writer: Writer) -> str:
    return "\n".join(f"- {writer.escaped(item)}" for item in block.items)


def _table(block: Table, writer: Writer) -> str:
    head = [writer.escaped(column.heading) for column in block.columns]
    rule = ["---:" if column.numeric else "---" for column in block.columns]
    rows = [[writer.escaped(cell) for cell in row] for row in block.rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def _charts(block: Charts, writer: Writer) -> str:
    parts = []
    for item in block.items:
        parts.append(f"### {writer.escaped(item.title)}")
        if isinstance(item, LineChart):
            parts.append(_line_chart(item, writer))
        else:
            parts.append(_bar_chart(item, writer))
    return "\n\n".join(parts)


def _line_chart(item: LineChart, writer: Writer) -> str:
    """The picture where there is one, and the evaluations as a table."""
    title = translate(item.title, writer.language)
    found = writer.images.get(title)
    parts = [f"![{writer.escaped(item.title)}]({found.replace(' ', '%20')})"] if found else []
    for curve in item.curves:
        if curve.line is Line.HELD_OUT and curve.label:
            rows = [(number(step), loss(value)) for step, value in curve.points]
            head = (writer.escaped(words("axis_steps")), writer.escaped(curve.label))
            lines = [head, ("---:", "---:"), *rows]
            parts.append("\n".join(f"| {' | '.join(row)} |" for row in lines))
    return "\n\n".join(parts)


def _bar_chart(item: BarChart, writer: Writer) -> str:
    """A bullet for every bar, its parts in a row; what was free last."""
    lines = []
    for bar in item.bars:
        total = format_bytes(sum(part.bytes for part in bar.parts))
        bound = ""
        if bar.upper is not None:
            bound = f" ({writer.escaped(words('bar_bound', size=format_bytes(bar.upper)))})"
        parts = ", ".join(
            f"{writer.escaped(part.label)} {format_bytes(part.bytes)}" for part in bar.parts
        )
        lines.append(f"- **{writer.escaped(bar.label)} {total}**{bound}: {parts}")
    if item.limit:
        lines.append(f"- {writer.escaped(words('bar_free', size=format_bytes(item.limit)))}")
    return "\n".join(lines)


def _folded(block: Folded, writer: Writer) -> str:
    """Nothing folds in plain text: a heading stands above the blocks."""
    blocks = [_RENDERERS[type(each)](each, writer) for each in block.blocks]
    return "\n\n".join([f"### {writer.escaped(block.summary)}", *blocks])


_RENDERERS: dict[type[Block], Callable[[Any, Writer], str]] = {
    Paragraph: _paragraph,
    Figures: _figures,
    Heading: _heading,
    Bullets: _bullets,
    Table: _table,
    Charts: _charts,
    Folded: _folded,
}
