"""Pieces of SVG that both charts are drawn with.

Colors are classes, so that the page's style sheet sets them, in light and in dark.
"""

from __future__ import annotations

from html import escape

WIDTH = 420
"""Units of a chart's view box across; the chart itself scales with its box."""
RIGHT = 14
"""Margin right of the plot."""
LABEL_DROP = 4
"""Distance from the middle of a label's letters down to the line they stand on."""


def chart_element(height: float, title: str, body: list[str]) -> str:
    """An ``svg`` element with a title that a screen reader says."""
    name = escape(title, quote=True)
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{name}">'
        f"<title>{escape(title)}</title>{''.join(body)}</svg>"
    )


def text_element(x: float, y: float, text: str, *, anchor: str = "middle", kind: str = "") -> str:
    """Words at a point; ``kind`` is their class."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind or "tick"}">'
        f"{escape(text)}</text>"
    )


def line_element(start: tuple[float, float], end: tuple[float, float], kind: str) -> str:
    """A straight line between two points; ``kind`` is its class."""
    (x1, y1), (x2, y2) = start, end
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'
