"""A plan in a notebook: bars that add up, escaped names, no script."""

from __future__ import annotations

import re
from dataclasses import replace

import tsplanner
from tests.support.pages import HOSTILE, Nesting
from tsplanner.api.notebook import lines_html, parts, plan_html


def test_the_parts_add_up_to_the_expected_peak() -> None:
    """The bar is as long as the free memory, so its parts are shares of that."""
    plan = tsplanner.plan(model="qwen2.5-7b", gpus="H200").record
    found = parts(plan.memory, plan.free_bytes)
    share = 100 * plan.memory.process_bytes.expected / plan.free_bytes
    assert abs(sum(part.percent for part in found) - share) < 1e-9
    # 7,615,616,512 parameters of two bytes are 14.19 GiB.
    assert next(part for part in found if part.name == "base weights").gib == "14.2"
    assert [part.percent for part in found[:-1]] == sorted(
        (part.percent for part in found[:-1]), reverse=True
    )


def test_the_html_has_the_verdict_the_alternatives_and_the_line() -> None:
    """Without a script or a style sheet, which viewers of notebooks drop."""
    plan = tsplanner.plan(model="qwen2.5-7b", gpus="2x RTX 3090")
    html = plan._repr_html_()
    Nesting().feed(html)
    assert "<script" not in html
    assert "<style" not in html
    assert ">FITS<" in html
    assert "Also possible" in html
    assert html.count("<tr") == len(re.findall("</tr>", html))
    assert "tsplanner plan --model qwen2.5-7b --gpus &#39;2x RTX 3090&#39;" in html


def test_names_of_others_making_are_escaped() -> None:
    """A model's name comes from a folder."""
    plan = tsplanner.plan(model="qwen2.5-7b", gpus="H200").record
    hostile = replace(plan, model=replace(plan.model, name=HOSTILE))
    assert "<script" not in plan_html(hostile, HOSTILE, HOSTILE)
    assert lines_html(["<b>", "&"]) == "<pre>&lt;b&gt;\n&amp;</pre>"


def test_an_estimate_has_a_bar_without_a_limit() -> None:
    """No card is named, so nothing is free or full."""
    html = tsplanner.estimate(model="qwen2.5-7b")._repr_html_()
    assert "free" not in html
    assert "7,615,616,512 parameters" in html
