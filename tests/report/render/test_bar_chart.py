"""Bytes as stacked bars in SVG."""

from __future__ import annotations

import re
import xml.dom.minidom
from dataclasses import replace

import pytest

from memory_models.units import GIB
from tsplanner.report.messages.translate import Language
from tsplanner.report.page import Bar, BarChart, Part, words
from tsplanner.report.render.bar_chart import bar_chart, drawn_limit, longest

EN = Language.EN


BARS = BarChart(
    title="run",
    bars=(
        Bar(
            label=words("bar_predicted"),
            parts=(
                Part(label="weights", color=0, bytes=9 * GIB),
                Part(label="pieces", color=12, bytes=GIB),
            ),
            upper=12 * GIB,
        ),
        Bar(label=words("bar_measured"), parts=(Part(label="process", color=7, bytes=11 * GIB),)),
    ),
    limit=15 * GIB,
)


@pytest.mark.parametrize("language", Language)
def test_a_bar_chart_has_a_rectangle_per_part(language: Language) -> None:
    """Three parts, stripes over the color that needs them, a bracket, and the free memory."""
    text = bar_chart(BARS, language)
    xml.dom.minidom.parseString(text)
    assert re.findall(r'class="part (c\d+)"', text) == ["c0", "c12", "c7"]
    assert text.count("url(#stripes)") == 1
    assert text.count('class="bound"') == 2
    assert text.count('class="limit"') == 1
    assert "<title>weights 9.00 GiB</title>" in text


def test_parts_stand_end_to_end() -> None:
    """The second part of a bar begins where the first one ends."""
    found = re.findall(
        r'<rect x="([\d.]+)" y="20" width="([\d.]+)" height="26" class="part', bar_chart(BARS, EN)
    )
    (first, width), (second, _) = ((float(x), float(w)) for x, w in found)
    assert second == pytest.approx(first + width, abs=0.11)


def test_memory_that_is_far_off_is_not_drawn() -> None:
    """Up to 1.6 times the longest bar (12 GiB with its bound) free memory gets a line."""
    assert longest(BARS) == 12 * GIB
    assert drawn_limit(BARS) == 15 * GIB
    far = replace(BARS, limit=20 * GIB)
    assert drawn_limit(far) is None
    assert 'class="limit"' not in bar_chart(far, EN)
