"""Charts as SVG text: colors are classes, so that the page's style sheet sets them."""

from __future__ import annotations

from html import escape

from memory_models.units import GIB, format_bytes
from tsplanner.report.messages import Language, say
from tsplanner.report.page import BarChart, Chart, Line, LineChart, words
from tsplanner.report.render.scale import LOG_FROM, Scale, log_ticks, thinned, tick_text, ticks
from tsplanner.report.render.style import style_sheet
from tsplanner.report.text import loss

WIDTH, HEIGHT = 420, 264
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 38, 40
MOST_POINTS = 300
BAR_HEIGHT, BAR_GAP, BAR_LEFT, BAR_TOP = 26, 16, 74, 20
MOST_EPOCHS = 12
"""Ends of epochs that are named; of more only every so many."""
SHOWN_LIMIT = 1.6
"""What was free is drawn up to this many times the longest bar; farther off it is told."""
DIGIT = 6.2
"""Width of a character of the charts' labels, rounded up."""


def chart(item: Chart, language: Language) -> str:
    """One chart as an ``svg`` element that scales with its box."""
    if isinstance(item, LineChart):
        return line_chart(item, language)
    return bar_chart(item, language)


def svg_file(item: Chart, language: Language) -> str:
    """One chart as a file of its own, light on any page."""
    head = '<svg xmlns="http://www.w3.org/2000/svg" width="840" '
    found = chart(item, language).replace("<svg ", head, 1)
    return found.replace("</title>", f"</title><style>{style_sheet(dark=False)}</style>", 1) + "\n"


def _svg(height: float, title: str, body: list[str]) -> str:
    name = escape(title, quote=True)
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{name}">'
        f"<title>{escape(title)}</title>{''.join(body)}</svg>"
    )


def _text(x: float, y: float, text: str, *, anchor: str = "middle", kind: str = "") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind or "tick"}">'
        f"{escape(text)}</text>"
    )


def _rule(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def line_chart(item: LineChart, language: Language) -> str:
    """Losses over steps, with axes, ends of epochs and the best evaluation."""
    everything = [point for curve in item.curves for point in curve.points]
    steps, losses = ([point[axis] for point in everything] for axis in (0, 1))
    across = ticks(0.0, max(steps))
    low, high = min(losses), max(losses)
    log = low > 0 and high >= LOG_FROM * low
    up = log_ticks(low, high) if log else ticks(low, high)
    x = Scale(low=0.0, high=max(steps), start=LEFT, end=WIDTH - RIGHT)
    y = Scale(low=up[0], high=up[-1], start=HEIGHT - BOTTOM, end=TOP, log=log)
    body = [_rule(LEFT, y.place(tick), WIDTH - RIGHT, y.place(tick), "grid") for tick in up]
    body += [_text(LEFT - 5, y.place(tick) + 4, tick_text(tick), anchor="end") for tick in up]
    body += [
        _text(x.place(tick), HEIGHT - BOTTOM + 15, tick_text(tick))
        for tick in across
        if tick <= max(steps)
    ]
    body += _epochs(item, x, language)
    for curve in item.curves:
        kind = "training" if curve.line is Line.TRAINING else "heldout"
        shown = thinned(curve.points, MOST_POINTS) if kind == "training" else curve.points
        places = [(x.place(step), y.place(value)) for step, value in shown]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
        body.append(f'<polyline points="{path}" class="{kind}"/>')
        if kind == "heldout":
            body += [
                f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3.2" class="dot"/>' for px, py in places
            ]
    body += _best(item, x, y, language)
    middle = (LEFT + WIDTH - RIGHT) / 2
    body.append(_text(middle, HEIGHT - 6, say(words("axis_steps"), language), kind="axis"))
    body.append(
        _text(
            4,
            11,
            say(words("axis_loss_log" if log else "axis_loss"), language),
            anchor="start",
            kind="axis",
        )
    )
    place: float = WIDTH - RIGHT
    for curve in reversed(item.curves):
        kind = "key-training" if curve.line is Line.TRAINING else "key-heldout"
        said = say(curve.label, language)
        body.append(_text(place, 11, said, anchor="end", kind=kind))
        place -= DIGIT * sum(2 if ord(sign) > 0x2E80 else 1 for sign in said) + 12
    body.append(_rule(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, "base"))
    return _svg(HEIGHT, say(item.title, language), body)


def _epochs(item: LineChart, x: Scale, language: Language) -> list[str]:
    """A dashed line where each epoch ends; its number at the top, the first in words."""
    every = -(-len(item.epochs) // MOST_EPOCHS) if item.epochs else 1
    named = [mark for index, mark in enumerate(item.epochs, 1) if index % every == 0]
    found = []
    for index, (step, name) in enumerate(named):
        place = x.place(step)
        found.append(_rule(place, TOP - 6, place, HEIGHT - BOTTOM, "epoch"))
        text = name if index else say(words("mark_epoch", epoch=name), language)
        at_end = place > WIDTH - RIGHT - DIGIT
        anchor = "end" if at_end or not index else "middle"
        found.append(_text(min(place, WIDTH - 4), TOP - 9, text, anchor=anchor, kind="epochname"))
    return found


def _best(item: LineChart, x: Scale, y: Scale, language: Language) -> list[str]:
    """A ring around the best evaluation and its loss, on the side that has room."""
    if item.best is None:
        return []
    px, py = x.place(item.best[0]), y.place(item.best[1])
    text = say(words("mark_best", loss=loss(item.best[1])), language)
    left = px > WIDTH / 2
    return [
        f'<circle cx="{px:.1f}" cy="{py:.1f}" r="7" class="ring"/>',
        _text(
            px + (-10 if left else 10),
            max(py - 10, TOP + 10),
            text,
            anchor="end" if left else "start",
            kind="best",
        ),
    ]


def bar_chart(item: BarChart, language: Language) -> str:
    """Stacked bars over an axis in GiB, with the 95 % bound and what was free."""
    most, limit = longest(item), drawn_limit(item)
    across = ticks(0.0, max(most, limit or 0) / GIB)
    x = Scale(low=0.0, high=across[-1], start=BAR_LEFT, end=WIDTH - RIGHT)
    bottom = BAR_TOP + len(item.bars) * (BAR_HEIGHT + BAR_GAP)
    body = [_rule(x.place(tick), BAR_TOP - 6, x.place(tick), bottom, "grid") for tick in across]
    body += [_text(x.place(tick), bottom + 14, tick_text(tick)) for tick in across]
    for index, bar in enumerate(item.bars):
        top = BAR_TOP + index * (BAR_HEIGHT + BAR_GAP)
        body.append(
            _text(BAR_LEFT - 6, top + BAR_HEIGHT / 2 + 4, say(bar.label, language), anchor="end")
        )
        start = 0
        for part in bar.parts:
            left, right = x.place(start / GIB), x.place((start + part.bytes) / GIB)
            name = f"{say(part.label, language)} {format_bytes(part.bytes)}"
            body.append(
                f'<g><title>{escape(name)}</title><rect x="{left:.1f}" y="{top}" '
                f'width="{right - left:.1f}" height="{BAR_HEIGHT}" class="part c{part.color}"/>'
                + _hatch(part.color, left, top, right - left, BAR_HEIGHT)
                + "</g>"
            )
            start += part.bytes
        if bar.upper is not None:
            body += _bound(x, start / GIB, bar.upper / GIB, top)
    if limit:
        place = x.place(limit / GIB)
        body.append(_rule(place, BAR_TOP - 6, place, bottom, "limit"))
    body.append(
        _text(
            WIDTH - RIGHT, bottom + 29, say(words("axis_gib"), language), anchor="end", kind="axis"
        )
    )
    return _svg(bottom + 34, say(item.title, language), body)


def longest(item: BarChart) -> int:
    """Bytes of the longest bar, its bound included."""
    sums = (sum(part.bytes for part in bar.parts) for bar in item.bars)
    return max(1, *sums, *(bar.upper or 0 for bar in item.bars))


def drawn_limit(item: BarChart) -> int | None:
    """What was free, where it is near enough to be drawn."""
    near = item.limit and item.limit <= SHOWN_LIMIT * longest(item)
    return item.limit if near else None


def _bound(x: Scale, expected: float, upper: float, top: float) -> list[str]:
    """A bracket from the expected value to the upper bound."""
    start, end, middle = x.place(expected), x.place(upper), top + BAR_HEIGHT / 2
    return [
        _rule(start, middle, end, middle, "bound"),
        _rule(end, top + 5, end, top + BAR_HEIGHT - 5, "bound"),
    ]


HATCHED = range(8, 14)
"""Colors that are told from the first ones by stripes."""


def _hatch(color: int, x: float, y: float, width: float, height: float) -> str:
    if color not in HATCHED:
        return ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
        'fill="url(#stripes)"/>'
    )


def swatch(color: int) -> str:
    """A color as it looks in a bar, for a legend."""
    return (
        '<svg class="swatch" viewBox="0 0 14 14" aria-hidden="true">'
        f'<rect width="14" height="14" class="part c{color}"/>{_hatch(color, 0, 0, 14, 14)}</svg>'
    )


STRIPES = (
    '<svg width="0" height="0" class="defs" aria-hidden="true"><defs>'
    '<pattern id="stripes" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="2" height="6" class="stripe"/></pattern>'
    "</defs></svg>"
)
"""Once a page."""
