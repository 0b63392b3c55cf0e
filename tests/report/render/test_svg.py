"""Pieces of SVG that every chart is drawn with."""

from __future__ import annotations

import xml.dom.minidom

from hypothesis import given
from hypothesis import strategies as st

from tsplanner.report.render.svg import WIDTH, chart_element, line_element, text_element

READABLE = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]))
"""Text that XML can hold at all."""


@given(READABLE, READABLE)
def test_any_name_stays_a_name(title: str, words: str) -> None:
    """Quotes, brackets and ampersands become neither tags nor attributes."""
    root = xml.dom.minidom.parseString(
        chart_element(50.0, title, [text_element(1.0, 2.0, words)])
    ).documentElement
    assert root is not None
    assert [child.nodeName for child in root.childNodes] == ["title", "text"]
    shown = [child.firstChild.nodeValue if child.firstChild else "" for child in root.childNodes]
    assert shown == [title, words]


def test_a_chart_scales_with_its_box_and_says_its_title() -> None:
    """There is a view box and no width, and a screen reader gets the title."""
    found = chart_element(84.5, 'a "run"', [])
    assert f'viewBox="0 0 {WIDTH} 84.5"' in found
    assert 'aria-label="a &quot;run&quot;"' in found
    assert " width=" not in found


def test_colors_are_classes() -> None:
    """The style sheet decides on colors, in light and in dark."""
    assert line_element((0, 1), (2, 3.25), "grid") == (
        '<line x1="0.0" y1="1.0" x2="2.0" y2="3.2" class="grid"/>'
    )
    assert text_element(5, 6, "7", anchor="end") == (
        '<text x="5.0" y="6.0" text-anchor="end" class="tick">7</text>'
    )
    assert 'class="axis"' in text_element(5, 6, "7", kind="axis")
