"""Bytes as stacked bars in SVG."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from memory_models.units import GIB, format_bytes
from tsplanner.report.messages.translate import Language, translate
from tsplanner.report.page import Bar, BarChart, words
from tsplanner.report.render.scale import Scale, tick_text, ticks
from tsplanner.report.render.svg import (
    LABEL_DROP,
    RIGHT,
    WIDTH,
    chart_element,
    line_element,
    text_element,
)

LEFT, TOP = 74, 20
"""Margins left of and above the first bar."""
HEIGHT, GAP = 26, 16
"""Of one bar, and between two."""
OVERHANG = 6
"""Grid lines begin above the first bar by this much."""
SHOWN_LIMIT = 1.6
"""A limit up to this many times the longest bar is drawn; the legend tells one farther off."""
HATCHED = range(8, 14)
"""Colors that have stripes, which tell them from the first ones."""


def bar_chart(item: BarChart, language: Language) -> str:
    """Stacked bars over an axis in GiB, with the 95 % bound and what was free."""
    limit = drawn_limit(item)
    across = ticks(0.0, max(longest(item), limit or 0) / GIB)
    x = Scale(low=0.0, high=across[-1], start=LEFT, end=WIDTH - RIGHT)
    bottom = TOP + len(item.bars) * (HEIGHT + GAP)
    body = [_upright(x, tick, bottom, "grid") for tick in across]
    body += [text_element(x.place(tick), bottom + 14, tick_text(tick)) for tick in across]
    for index, bar in enumerate(item.bars):
        body += _bar(bar, x, TOP + index * (HEIGHT + GAP), language)
    if limit:
        body.append(_upright(x, limit / GIB, bottom, "limit"))
    unit = translate(words("axis_gib"), language)
    body.append(text_element(WIDTH - RIGHT, bottom + 29, unit, anchor="end", kind="axis"))
    return chart_element(bottom + 34, translate(item.title, language), body)


def longest(item: BarChart) -> int:
    """Bytes of the longest bar, its bound included."""
    sums = (sum(part.bytes for part in bar.parts) for bar in item.bars)
    return max(1, *sums, *(bar.upper or 0 for bar in item.bars))


def drawn_limit(item: BarChart) -> int | None:
    """The limit in bytes where it is near enough to be drawn; else None."""
    near = item.limit and item.limit <= SHOWN_LIMIT * longest(item)
    return item.limit if near else None


def _upright(x: Scale, gib: float, bottom: float, kind: str) -> str:
    """A line across all bars at a size."""
    return line_element((x.place(gib), TOP - OVERHANG), (x.place(gib), bottom), kind)


def _bar(bar: Bar, x: Scale, top: float, language: Language) -> Iterator[str]:
    """The name of a bar, its parts one after the other, and its bound."""
    name = translate(bar.label, language)
    yield text_element(LEFT - 6, top + HEIGHT / 2 + LABEL_DROP, name, anchor="end")
    start = 0
    for part in bar.parts:
        left, right = x.place(start / GIB), x.place((start + part.bytes) / GIB)
        said = f"{translate(part.label, language)} {format_bytes(part.bytes)}"
        yield (
            f'<g><title>{escape(said)}</title><rect x="{left:.1f}" y="{top}" '
            f'width="{right - left:.1f}" height="{HEIGHT}" class="part c{part.color}"/>'
            f"{hatch(part.color, left, top, right - left, HEIGHT)}</g>"
        )
        start += part.bytes
    if bar.upper is not None:
        yield from _bound(x.place(start / GIB), x.place(bar.upper / GIB), top)


def _bound(expected: float, upper: float, top: float) -> list[str]:
    """A bracket from the expected value to the upper bound."""
    middle = top + HEIGHT / 2
    return [
        line_element((expected, middle), (upper, middle), "bound"),
        line_element((upper, top + 5), (upper, top + HEIGHT - 5), "bound"),
    ]


def hatch(color: int, x: float, y: float, width: float, height: float) -> str:
    """Stripes over a rectangle of a color that has them; nothing for another color."""
    if color not in HATCHED:
        return ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
        'fill="url(#stripes)"/>'
    )
