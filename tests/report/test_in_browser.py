"""The page as a real browser lays it out: a window, a phone, light, dark and paper.

Needs a Chromium (Debian: apt install chromium); TSPLANNER_BROWSER names another program. Pictures
of every view stay in the folder that TSPLANNER_PICTURES names, to be looked at.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import Browser, find_browser
from tests.support.hand_made import summary, trained
from tsplanner.report.build_page import About, build_page
from tsplanner.report.messages.translate import Language
from tsplanner.report.records.recorded import recorded_runs
from tsplanner.report.render.html import html

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = find_browser()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        PROGRAM is None,
        reason="no Chromium is here: apt install chromium, or name one in TSPLANNER_BROWSER",
    ),
]

LONG = "a-model-with-a-name-that-goes-on-and-on-0.5b-instruct-2026-11-23"

BEYOND = """(() => {
  const main = document.querySelector("main"), style = getComputedStyle(main);
  const edge = main.getBoundingClientRect().right - parseFloat(style.paddingRight);
  return [...main.querySelectorAll("*")]
    .filter(found => !found.closest("svg") && found.getBoundingClientRect().right > edge + 1)
    .filter(found => getComputedStyle(found.closest("thead") || main).position != "absolute")
    .map(found => found.tagName + " " + found.textContent.slice(0, 40));
})()"""
"""Elements that stick out of the page to the right."""

HIDDEN_HEADINGS = """[...document.querySelectorAll("h1, h2, h3")].filter(found => {
  const box = found.getBoundingClientRect();
  return box.width < 10 || box.height < 10 || !found.checkVisibility();
}).map(found => found.textContent)"""

CHART_BOXES = """[...document.querySelectorAll("svg.chart")].map(found => {
  const box = found.getBoundingClientRect();
  return [box.width, box.height];
})"""

TEXT_OUTSIDE = """[...document.querySelectorAll("svg.chart")].flatMap(chart => {
  const edge = chart.getBoundingClientRect();
  return [...chart.querySelectorAll("text")].filter(found => {
    const box = found.getBoundingClientRect();
    return box.left < edge.left - 1 || box.right > edge.right + 1 ||
      box.top < edge.top - 1 || box.bottom > edge.bottom + 1;
  }).map(found => found.textContent);
})"""
"""Labels that a chart's edge would cut off."""

LABELS_OVER_LABELS = """[...document.querySelectorAll("svg.chart")].flatMap(chart => {
  const boxes = [...chart.querySelectorAll("text")].map(found =>
    [found.textContent, found.getBoundingClientRect()]);
  return boxes.flatMap(([one, a], index) => boxes.slice(index + 1)
    .filter(([other, b]) => a.left < b.right - 1 && b.left < a.right - 1 &&
      a.top < b.bottom - 3 && b.top < a.bottom - 3)
    .map(([other]) => one + " / " + other));
})"""
"""Pairs of labels that lie over each other."""

EMPTY_SHAPES = """[...document.querySelectorAll("svg.chart")].filter(chart =>
  ![...chart.querySelectorAll("rect.part, polyline")].some(found => {
    const box = found.getBoundingClientRect();
    return box.width > 5 && box.height > 5;
  })).map(chart => chart.getAttribute("aria-label"))"""
"""Charts that show nothing."""

CONTRAST = """(() => {
  const light = color => {
    const parts = color.match(/[0-9.]+/g).slice(0, 3).map(part => part / 255)
      .map(part => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const page = light(getComputedStyle(document.body).backgroundColor);
  return [...new Set([...document.querySelectorAll("p, li, td, th, h1, h2, h3, a")]
    .map(found => getComputedStyle(found).color))]
    .map(color => [color, (Math.max(page, light(color)) + 0.05) /
      (Math.min(page, light(color)) + 0.05)])
    .filter(([color, ratio]) => ratio < 4.5);
})()"""
"""Colors of text that are too near to the page's (WCAG 2, AA)."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all views."""
    assert PROGRAM is not None
    with Browser(PROGRAM) as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[Language, Path]:
    """The page over own and recorded runs, in both languages."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "plan").mkdir()
    own = trained(folder / "plan", name=f"{LONG}/lora/20261123-1", model=LONG)
    runs = (
        own,
        trained(folder / "plan", name="m/lora/20261123-2", learning_rate=1e-4, eval_loss=0.39),
        summary("m/qlora/20261123-1", quantization="nf4", status="timeout", message="no time left"),
        *recorded_runs(),
    )
    page = build_page(runs, About(saves=Path("saves"), when="2026-11-23 04:00", version="9"))
    paths = {}
    for language in Language:
        paths[language] = folder / f"report.{language}.html"
        paths[language].write_text(html(page, language), encoding="utf-8")
    return paths


def keep(browser: Browser, name: str) -> None:
    """A picture of the view, if somebody wants to look."""
    folder = os.environ.get("TSPLANNER_PICTURES")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        browser.picture(Path(folder) / f"{name}.png")


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [320, 390, 768, 1024, 1121, 1200, 1920])
def test_everything_is_seen_and_nothing_sticks_out(
    browser: Browser, pages: dict[Language, Path], width: int, dark: bool, language: Language
) -> None:
    """Headings are visible, charts have boxes with something in them, the page does not scroll."""
    phone = width < 500
    browser.show(pages[language], width=width, dark=dark, phone=phone)
    keep(browser, f"{language}-{width}-{'dark' if dark else 'light'}")
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask(BEYOND) == []
    assert browser.ask(HIDDEN_HEADINGS) == []
    boxes = browser.ask(CHART_BOXES)
    assert len(boxes) == 4
    assert all(wide > 250 and high > 60 for wide, high in boxes)
    assert browser.ask(TEXT_OUTSIDE) == []
    assert browser.ask(LABELS_OVER_LABELS) == []
    assert browser.ask(EMPTY_SHAPES) == []
    assert browser.ask(CONTRAST) == []


def test_the_scheme_of_the_reader_is_followed(
    browser: Browser, pages: dict[Language, Path]
) -> None:
    """Light on white, dark on nearly black."""
    colors = []
    for dark in (False, True):
        browser.show(pages[Language.EN], width=1200, dark=dark)
        colors.append(browser.ask("getComputedStyle(document.body).backgroundColor"))
    assert colors == ["rgb(255, 255, 255)", "rgb(20, 23, 26)"]


def test_the_results_are_a_table_on_a_screen_and_cards_on_a_phone(
    browser: Browser, pages: dict[Language, Path]
) -> None:
    """On a phone each figure has its heading beside it."""
    display = "getComputedStyle(document.querySelector('#results td')).display"
    browser.show(pages[Language.EN], width=1200)
    assert browser.ask(display) == "table-cell"
    browser.show(pages[Language.EN], width=390, phone=True)
    assert browser.ask(display) == "flex"
    before = "getComputedStyle(document.querySelector('#results td'), '::before').content"
    assert browser.ask(before) != "none"


def test_the_page_prints(browser: Browser, pages: dict[Language, Path], tmp_path: Path) -> None:
    """On paper it is a table again, light, on a few sheets."""
    browser.show(pages[Language.EN], width=1200, dark=True)
    content = browser.paper(tmp_path / "report.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert 3 <= content.count(b"/Type /Page\n") + content.count(b"/Type /Page ") <= 12


def test_a_real_run_can_be_looked_at(browser: Browser, tmp_path: Path) -> None:
    """The embedded default, trained for an epoch on the CPU, then reported: both pages open."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    for line in (["plan", "--cpu", "--epochs", "1"], ["train"], ["report"]):
        done = subprocess.run(
            [sys.executable, "-m", "tsplanner", *line],
            check=False,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=250,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (tmp_path / "saves" / "tiny-chatts" / "lora").iterdir()
    for path in (folder / "report.html", tmp_path / "saves" / "report.zh-CN.html"):
        browser.show(path, width=1200)
        assert browser.ask(BEYOND) == []
        assert browser.ask(HIDDEN_HEADINGS) == []
        assert len(browser.ask(CHART_BOXES)) == 2
        assert browser.ask(EMPTY_SHAPES) == []
    keep(browser, "real-run")
    browser.show(folder / "loss.svg", width=900)
    assert browser.ask("document.querySelectorAll('polyline').length") == 2
