"""The pictures of docs/gallery.md: a report, a plan on a terminal and the page "Will it fit?".

    tsplanner plan && tsplanner tune --trials 8 && tsplanner report
    python -m tsplanner.commands.page.build --output build/will-it-fit.html
    python benchmarks/collect/gallery.py --saves saves --page build/will-it-fit.html

Needs a Chromium. Without --page the page is left as it was.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import html
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.browser import Browser, find_browser

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
COLUMNS = 110
PLAN = ["plan", "--model", "qwen2.5-7b", "--gpus", "RTX 3090"]
WIDTH, HEIGHT = 1100, 760
READY = """new Promise(done => {
  const look = () => document.getElementById("answer")?.dataset.ready ? done(true)
    : setTimeout(look, 50);
  look();
})"""
"""The page has its first answer, and its sliders are live."""
SEARCH = """document.getElementById("search").getBoundingClientRect().top + scrollY"""
"""Where the section on the search begins, in pixels."""
TERMINAL = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #16181d; }}
pre {{ margin: 0; padding: 20px 24px; color: #d8dee9; font: 14px/1.45 "DejaVu Sans Mono", monospace; }}
b {{ color: #ffffff; }}
</style><pre><b>$ tsplanner {command}</b>
{text}</pre>"""


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--saves", type=Path, required=True, help="folder with report.html")
    parser.add_argument("--page", type=Path, help="the page as one file [left as it was]")
    options = parser.parse_args()
    program = find_browser()
    if program is None:
        raise SystemExit("No Chromium is here.")
    with Browser(program) as browser, tempfile.TemporaryDirectory() as folder:
        terminal(browser, Path(folder))
        for dark in (False, True):
            scheme = "dark" if dark else "light"
            browser.show(options.saves / "report.html", width=WIDTH, dark=dark)
            picture(browser, f"report-{scheme}.png")
            picture(browser, f"search-{scheme}.png", top=browser.ask(SEARCH))
            if options.page is not None:
                browser.show(options.page, width=WIDTH, dark=dark)
                browser.ask(READY)
                picture(browser, f"page-{scheme}.png")


def terminal(browser: Browser, folder: Path) -> None:
    """A plan as a terminal shows it."""
    lines = shown_on_a_terminal(["--saves", str(folder / "saves")], folder)
    end = next(place for place, line in enumerate(lines) if line.lstrip().startswith("Advice"))
    command = "plan --model qwen2.5-7b --gpus 'RTX 3090'"
    path = folder / "terminal.html"
    shown = html.escape("\n".join(lines[:end]))
    path.write_text(TERMINAL.format(command=command, text=shown), encoding="utf-8")
    browser.show(path, width=WIDTH)
    height = browser.ask("document.querySelector('pre').offsetHeight")
    picture(browser, "plan.png", height=height)


def shown_on_a_terminal(more: list[str], folder: Path) -> list[str]:
    """The lines of a plan with the bars that a terminal gets, without colors."""
    ours, theirs = os.openpty()
    environment = {
        **os.environ,
        "COLUMNS": str(COLUMNS),
        "TSPLANNER_STATE": str(folder),
        "NO_COLOR": "1",
    }
    words = [sys.executable, "-m", "tsplanner", *PLAN, *more]
    with subprocess.Popen(words, stdout=theirs, cwd=folder, env=environment):
        os.close(theirs)
        text = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while piece := os.read(ours, 1 << 16):
                text += piece
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;]*m|\r", "", text.decode()).splitlines()


def picture(browser: Browser, name: str, *, top: float = 0, height: float = HEIGHT) -> None:
    """A part of the page as a PNG."""
    clip = {"x": 0, "y": top, "width": WIDTH, "height": height, "scale": 1}
    answer = browser.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
    (IMAGES / name).write_bytes(base64.b64decode(answer["data"]))


if __name__ == "__main__":
    main()
