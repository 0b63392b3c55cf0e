"""Losses over steps as SVG."""

from __future__ import annotations

from memory_models.frozen import frozen
from tsplanner.report.messages.translate import Language, translate
from tsplanner.report.page import Curve, Line, LineChart, words
from tsplanner.report.render.scale import LOG_FROM, Scale, log_ticks, thinned, tick_text, ticks
from tsplanner.report.render.svg import (
    LABEL_DROP,
    RIGHT,
    WIDTH,
    chart_element,
    line_element,
    text_element,
)
from tsplanner.report.text import loss, number

HEIGHT = 264
LEFT, TOP, BOTTOM = 46, 38, 40
"""Margins around the plot."""
PLOT_RIGHT, PLOT_BOTTOM = WIDTH - RIGHT, HEIGHT - BOTTOM
KEY_LINE = 11
"""Where the words above the plot stand."""
MOST_POINTS = 300
"""A training curve with more points is drawn by the means of neighbors."""
MOST_EPOCHS = 12
"""Ends of epochs that get a mark; of more epochs only every second, third and so on is marked."""
LETTER = 6.2
"""Width of a letter of the labels, rounded up."""
FIRST_WIDE = 0x2E80
"""Characters from here on (Chinese) are twice as wide as a letter."""
KEY_GAP = 12
"""Space between two words of the key."""

DOT_RADIUS, RING_RADIUS, RING_GAP = 3.2, 7, 10

LINE_CLASSES = {Line.TRAINING: "training", Line.HELD_OUT: "heldout", Line.TRIAL: "trial"}


@frozen
class Frame:
    """Both axes of a chart, with their ticks."""

    x: Scale
    y: Scale
    across: tuple[float, ...]
    """Ticks in steps."""
    up: tuple[float, ...]
    """Ticks in nats per token."""

    def point(self, step: float, value: float) -> tuple[float, float]:
        """Where a loss is drawn."""
        return self.x.place(step), self.y.place(value)


def line_chart(item: LineChart, language: Language) -> str:
    """Losses over steps, with axes, ends of epochs and the best evaluation."""
    frame = frame_of(item)
    body = [
        *_ticks(frame),
        *_epochs(item, frame, language),
        *(element for curve in item.curves for element in _curve(curve, frame)),
        *_best(item, frame, language),
        *_axis_names(frame, language),
        *_key(item, language),
        line_element((LEFT, PLOT_BOTTOM), (PLOT_RIGHT, PLOT_BOTTOM), "base"),
    ]
    return chart_element(HEIGHT, translate(item.title, language), body)


def frame_of(item: LineChart) -> Frame:
    """The axes that hold every point; losses far apart get a logarithmic one."""
    points = [point for curve in item.curves for point in curve.points]
    last = max(step for step, _ in points)
    losses = [value for _, value in points]
    low, high = min(losses), max(losses)
    log = low > 0 and high >= LOG_FROM * low
    up = log_ticks(low, high) if log else ticks(low, high)
    return Frame(
        x=Scale(low=0.0, high=last, start=LEFT, end=PLOT_RIGHT),
        y=Scale(low=up[0], high=up[-1], start=PLOT_BOTTOM, end=TOP, log=log),
        across=tuple(tick for tick in ticks(0.0, last) if tick <= last),
        up=tuple(up),
    )


def _ticks(frame: Frame) -> list[str]:
    """Grid lines and the figures of both axes."""
    heights = [(tick, frame.y.place(tick)) for tick in frame.up]
    return [
        *(line_element((LEFT, y), (PLOT_RIGHT, y), "grid") for _, y in heights),
        *(
            text_element(LEFT - 5, y + LABEL_DROP, tick_text(tick), anchor="end")
            for tick, y in heights
        ),
        *(
            text_element(frame.x.place(tick), PLOT_BOTTOM + 15, tick_text(tick))
            for tick in frame.across
        ),
    ]


def _curve(curve: Curve, frame: Frame) -> list[str]:
    """A line through the points of a curve; evaluations also get a dot each."""
    kind = LINE_CLASSES[curve.line]
    training = curve.line is Line.TRAINING
    shown = thinned(curve.points, MOST_POINTS) if training else curve.points
    places = [frame.point(step, value) for step, value in shown]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    line = f'<polyline points="{path}" class="{kind}"/>'
    if training:
        return [line]
    return [line, *(_dot(point, frame, curve.line) for point in shown)]


def _dot(point: tuple[float, float], frame: Frame, line: Line) -> str:
    """An evaluation; a pointer that rests on it is told its figures."""
    x, y = frame.point(*point)
    kind = "dot" if line is Line.HELD_OUT else "trialdot"
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{DOT_RADIUS}" class="{kind}">'
        f"<title>{number(point[0])}: {loss(point[1])}</title></circle>"
    )


def _epochs(item: LineChart, frame: Frame, language: Language) -> list[str]:
    """A dashed line where each epoch ends, with the epoch's number; the first one in words."""
    every = -(-len(item.epochs) // MOST_EPOCHS) if item.epochs else 1
    named = [mark for index, mark in enumerate(item.epochs, 1) if index % every == 0]
    found = []
    for index, (step, name) in enumerate(named):
        x = frame.x.place(step)
        found.append(line_element((x, TOP - 6), (x, PLOT_BOTTOM), "epoch"))
        text = name if index else translate(words("mark_epoch", epoch=name), language)
        at_end = x > PLOT_RIGHT - LETTER
        anchor = "end" if at_end or not index else "middle"
        found.append(
            text_element(min(x, WIDTH - 4), TOP - 9, text, anchor=anchor, kind="epochname")
        )
    return found


def _best(item: LineChart, frame: Frame, language: Language) -> list[str]:
    """A ring around the best evaluation and its loss, on the side that has room."""
    if item.best is None:
        return []
    x, y = frame.point(*item.best)
    text = translate(words("mark_best", loss=loss(item.best[1])), language)
    left = x > WIDTH / 2
    aside = x + (-RING_GAP if left else RING_GAP)
    above = max(y - RING_GAP, TOP + RING_GAP)
    return [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{RING_RADIUS}" class="ring"/>',
        text_element(aside, above, text, anchor="end" if left else "start", kind="best"),
    ]


def _axis_names(frame: Frame, language: Language) -> list[str]:
    """What the axes count."""
    loss_axis = translate(words("axis_loss_log" if frame.y.log else "axis_loss"), language)
    middle = (LEFT + PLOT_RIGHT) / 2
    return [
        text_element(middle, HEIGHT - 6, translate(words("axis_steps"), language), kind="axis"),
        text_element(4, KEY_LINE, loss_axis, anchor="start", kind="axis"),
    ]


def _key(item: LineChart, language: Language) -> list[str]:
    """The names of the curves in their colors, from the right."""
    found = []
    place: float = PLOT_RIGHT
    for curve in reversed([curve for curve in item.curves if curve.label]):
        name = translate(curve.label, language)
        kind = f"key-{LINE_CLASSES[curve.line]}"
        found.append(text_element(place, KEY_LINE, name, anchor="end", kind=kind))
        place -= LETTER * sum(2 if ord(sign) > FIRST_WIDE else 1 for sign in name) + KEY_GAP
    return found
