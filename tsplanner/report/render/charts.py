"""A chart of the page as SVG text: in the page, or as a file of its own."""

from __future__ import annotations

from tsplanner.report.messages.translate import Language
from tsplanner.report.page import Chart, LineChart
from tsplanner.report.render.bar_chart import bar_chart
from tsplanner.report.render.line_chart import line_chart
from tsplanner.report.render.templates import style_sheet


def chart(item: Chart, language: Language) -> str:
    """One chart as an ``svg`` element that scales with its box."""
    if isinstance(item, LineChart):
        return line_chart(item, language)
    return bar_chart(item, language)


def svg_file(item: Chart, language: Language) -> str:
    """One chart as a file of its own, in light colors whatever page shows the file."""
    # Within HTML an svg needs no namespace and takes the width of its box; a file needs both.
    head = '<svg xmlns="http://www.w3.org/2000/svg" width="840" '
    found = chart(item, language).replace("<svg ", head, 1)
    return found.replace("</title>", f"</title><style>{style_sheet(dark=False)}</style>", 1) + "\n"
