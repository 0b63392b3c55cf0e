"""Seconds of the page "Will it fit?" in a real Chromium, opened from file://.

python -m tsplanner.commands.page.build --output will-it-fit.html
python benchmarks/speed/page.py will-it-fit.html [--repeats 5] [--json FILE]

``first``: from the start of loading to the answer to the settings that the page opens with, which
comes with it. ``live``: until Python answers inside the page. ``slider``: from a move to the new bars.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.support.browser import Browser, find_browser  # noqa: E402
from tsplanner.commands.page.build import compressed_mib  # noqa: E402

DATA = "document.getElementById('answer').dataset"
MOVES = (3, 9, 4, 8, 1, 10, 2, 7, 5, 11)
"""Places of the slider of the length, from 1,024 to 32,768 tokens."""


def opened(program: str, page: Path) -> dict[str, float]:
    """Milliseconds of one visit by a browser that never saw the page."""
    with Browser(program) as browser:
        browser.show(page, width=1280)
        while not browser.ask(f"{DATA}.count"):
            time.sleep(0.02)
        found = {
            "first": float(browser.ask(f"{DATA}.first")),
            "live": float(browser.ask(f"{DATA}.ready")),
        }
        moves = []
        for place in MOVES:
            count = browser.ask(f"{DATA}.count")
            slider = "document.getElementById('sequence_length')"
            browser.ask(f"{slider}.value = {place}; {slider}.dispatchEvent(new Event('input'))")
            while browser.ask(f"{DATA}.count") == count:
                time.sleep(0.005)
            moves.append(float(browser.ask(f"{DATA}.milliseconds")))
    return found | {"slider": statistics.median(moves), "slider_worst": max(moves)}


def main() -> int:
    """Print medians, and write them where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    program = find_browser()
    if program is None:
        print("no Chromium is here; TSPLANNER_BROWSER names one", file=sys.stderr)
        return 1
    visits = [opened(program, options.page) for _ in range(options.repeats)]
    found = {name: statistics.median(visit[name] for visit in visits) for name in visits[0]}
    size = compressed_mib(options.page.read_text(encoding="utf-8"))
    for name, value in found.items():
        print(f"{name:<14}{value:>8.0f} ms")
    print(f"{'compressed':<14}{size:>8.1f} MiB")
    if options.json is not None:
        document = {
            "date": f"{date.today()}",
            "milliseconds": found,
            "compressed_mib": round(size, 2),
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
