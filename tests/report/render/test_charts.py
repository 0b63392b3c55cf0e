"""A chart as SVG text, in the page or as a file of its own."""

from __future__ import annotations

import xml.dom.minidom

import pytest

from memory_models.units import GIB
from tsplanner.report.messages.translate import Language
from tsplanner.report.page import Bar, BarChart, Chart, Curve, Line, LineChart, Part
from tsplanner.report.render.bar_chart import bar_chart
from tsplanner.report.render.charts import chart, svg_file
from tsplanner.report.render.line_chart import line_chart

EN = Language.EN
LOSSES = LineChart(
    title="a run",
    curves=(Curve(line=Line.TRAINING, label="training", points=((1.0, 2.0), (4.0, 1.0))),),
)
BARS = BarChart(
    title="its memory",
    bars=(Bar(label="measured", parts=(Part(label="process", color=7, bytes=GIB),)),),
)


def test_each_kind_of_chart_is_drawn_by_its_own_module() -> None:
    """A page asks for a chart and need not know which kind it is."""
    assert chart(LOSSES, EN) == line_chart(LOSSES, EN)
    assert chart(BARS, EN) == bar_chart(BARS, EN)


@pytest.mark.parametrize("item", [LOSSES, BARS], ids=["losses", "bars"])
def test_a_file_of_its_own_has_a_namespace_a_size_and_its_colors(item: Chart) -> None:
    """An image viewer knows no page around the chart, so the file has the style sheet in it."""
    root = xml.dom.minidom.parseString(svg_file(item, EN)).documentElement
    assert root is not None
    assert (root.tagName, root.getAttribute("width")) == ("svg", "840")
    assert root.getAttribute("xmlns") == "http://www.w3.org/2000/svg"
    (style,) = root.getElementsByTagName("style")
    assert "--c7:" in style.firstChild.nodeValue  # type: ignore[union-attr]


def test_a_file_is_light_whatever_the_reader_prefers() -> None:
    """A picture in a document stands on white paper, so no dark scheme applies."""
    assert "prefers-color-scheme" not in svg_file(BARS, EN)
