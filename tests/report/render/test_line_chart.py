"""Losses over steps as SVG: what is drawn, where, and in which class."""

from __future__ import annotations

import re
import xml.dom.minidom
from dataclasses import replace

from tsplanner.report.messages.translate import Language
from tsplanner.report.page import Curve, Line, LineChart, words
from tsplanner.report.render.line_chart import MOST_EPOCHS, MOST_POINTS, frame_of, line_chart

EN = Language.EN


TRAINING = Curve(
    line=Line.TRAINING,
    label=words("line_training"),
    points=((1.0, 2.1), (5.0, 0.6), (10.0, 0.18)),
)


HELD_OUT = Curve(
    line=Line.HELD_OUT,
    label=words("line_held_out"),
    points=((0.0, 2.0), (5.0, 0.41), (10.0, 0.44)),
)


LOSSES = LineChart(
    title="<run>",
    curves=(TRAINING, HELD_OUT),
    epochs=((5.0, "1"), (10.0, "2")),
    best=(5.0, 0.41),
)


def test_a_line_chart_has_a_line_per_curve_and_a_dot_per_evaluation() -> None:
    """Two lines, three dots, a ring around the best evaluation with its loss."""
    text = line_chart(LOSSES, EN)
    assert re.findall(r'<polyline points="[^"]*" class="(\w+)"', text) == ["training", "heldout"]
    assert text.count('class="dot"') == 3
    assert text.count('class="ring"') == 1
    assert ">best 0.4100</text>" in text
    assert ">epoch 1</text>" in text
    assert text.count('class="epoch"') == 2
    assert "&lt;run&gt;" in text
    xml.dom.minidom.parseString(text)


def test_the_scale_is_logarithmic_only_for_losses_far_apart() -> None:
    """0.18 to 2.1 is more than fourfold; 1.0 to 2.0 is not; a loss of zero has no logarithm."""
    assert frame_of(LOSSES).y.log
    assert "log scale" in line_chart(LOSSES, EN)
    for points in (((0.0, 2.0), (9.0, 1.0)), ((0.0, 2.0), (9.0, 0.0))):
        near = replace(LOSSES, curves=(replace(TRAINING, points=points),), best=None)
        assert not frame_of(near).y.log
        assert "log scale" not in line_chart(near, EN)


def test_every_point_lies_inside_the_frame() -> None:
    """The axes hold all curves, and the last tick in steps is not beyond the last step."""
    frame = frame_of(LOSSES)
    for curve in LOSSES.curves:
        for step, value in curve.points:
            x, y = frame.point(step, value)
            assert frame.x.start <= x <= frame.x.end
            assert frame.y.end <= y <= frame.y.start
    assert max(frame.across) == 10.0


def test_long_runs_have_fewer_points_and_fewer_marks() -> None:
    """1,000 steps are drawn by at most 300 points, 30 epochs by at most 12 marks."""
    points = tuple((float(step), 9.0 / step) for step in range(1, 1001))
    epochs = tuple((step * 1000 / 30, str(step)) for step in range(1, 31))
    long = LineChart(title="", curves=(replace(TRAINING, points=points),), epochs=epochs)
    text = line_chart(long, EN)
    (path,) = re.findall(r'<polyline points="([^"]*)"', text)
    assert len(path.split()) <= MOST_POINTS
    assert text.count('class="epoch"') <= MOST_EPOCHS
    assert 'class="ring"' not in text
