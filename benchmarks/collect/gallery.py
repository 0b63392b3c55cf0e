"""The pictures of docs/gallery.md: a report, a plan on a terminal and the page "Will it fit?".

    tsplanner plan && tsplanner tune --trials 8 && tsplanner report
    python -m tsplanner.commands.page.build --output build/will-it-fit.html
    python benchmarks/collect/gallery.py --saves saves --page build/will-it-fit.html

Needs a Chromium. Without --page the page is left as it was.
"""

from __future__ import annotations

import argparse
import html
import os
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
            if options.page is not None:
                browser.show(options.page, width=WIDTH, dark=dark)
                browser.ask(READY)
                picture(browser, f"page-{scheme}.png")


def terminal(browser: Browser, folder: Path) -> None:
    """A plan as a terminal shows it."""
    words = [sys.executable, "-m", "tsplanner", *PLAN, "--saves", str(folder / "saves")]
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "TSPLANNER_STATE": str(folder)}
    done = subprocess.run(
        words, check=True, capture_output=True, text=True, cwd=folder, env=environment
    )
    from tsplanner.console import fold

    lines = [piece for line in done.stdout.splitlines() for piece in fold(line, COLUMNS)]
    command = "plan --model qwen2.5-7b --gpus 'RTX 3090'"
    path = folder / "terminal.html"
    shown = html.escape("\n".join(lines[: next_line(lines)]))
    path.write_text(TERMINAL.format(command=command, text=shown), encoding="utf-8")
    browser.show(path, width=WIDTH)
    browser.picture(IMAGES / "plan.png")


def next_line(lines: list[str]) -> int:
    """The line before the advice: a picture is not read to the end."""
    return next(place for place, line in enumerate(lines) if line.lstrip().startswith("Advice"))


def picture(browser: Browser, name: str) -> None:
    """The top of the page as a PNG of the gallery's size."""
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT, "scale": 1}
    import base64

    answer = browser.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
    (IMAGES / name).write_bytes(base64.b64decode(answer["data"]))


if __name__ == "__main__":
    main()
