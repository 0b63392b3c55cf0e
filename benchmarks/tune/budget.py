"""``tsplanner tune --budget``: what it promised against what it took, as whole commands.

    python benchmarks/tune/budget.py --output FILE.json [--budgets 2m 3m 4m] [--words "--epochs 1"]

Runs the command on the embedded model with its sample, each budget in a folder of its own; what
one run learns about the machine's speed the next one knows, as on a person's machine. ``promised``
is what the opening printed, or the first trial renewed where the machine was not known; ``took`` is
the wall time of the whole process, imports included. Status 1 if one of them is off by more than
10 % or took longer than its budget.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tsplanner.runs import versions, write_json

BAR = 0.10


def once(budget: str, words: list[str], folder: Path) -> dict[str, Any]:
    """One whole command."""
    run = folder / "run"
    state = {"TSPLANNER_STATE": str(folder.parent / "state")}
    where = ["--run-folder", str(run)]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tsplanner", "tune", "--budget", budget, *words, *where],
        cwd=folder,
        env={**os.environ, **state},
        capture_output=True,
        text=True,
        check=False,
    )
    took = time.monotonic() - began
    if done.returncode:
        return {"budget": budget, "error": (done.stdout + done.stderr)[-600:]}
    told = json.loads((run / "tune.json").read_text())
    promised = told["promised_seconds"]
    return {
        "budget": budget,
        "budget_seconds": told["budget_seconds"],
        "first_promised_seconds": told["first_promised_seconds"],
        "promised_seconds": promised,
        "took_seconds": took,
        "off": took / promised - 1,
        "first_off": took / told["first_promised_seconds"] - 1,
        "trials": len(list((run / "trials").glob("*"))),
        "load_average": os.getloadavg()[0],
        "decision": told["decision"]["sentence"],
    }


def main() -> int:
    """Run all budgets, print a line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--budgets", nargs="+", default=["2m", "3m", "4m"])
    parser.add_argument("--words", default="--epochs 1", help="more words for tune")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, budget in enumerate(options.budgets):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            rows.append(once(budget, options.words.split(), folder))
            write_json(
                options.output, {"versions": versions(), "words": options.words, "runs": rows}
            )
            print(line(rows[-1]), flush=True)
    kept = [abs(row.get("off", 1.0)) <= BAR for row in rows]
    kept += [row.get("took_seconds", 1e9) <= 1.02 * row.get("budget_seconds", 0) for row in rows]
    return 0 if all(kept) else 1


def line(row: dict[str, Any]) -> str:
    """One budget."""
    if "error" in row:
        return f"{row['budget']:>5}  failed: {row['error']}"
    return (
        f"{row['budget']:>5}  at first {row['first_promised_seconds']:.0f} s, promised "
        f"{row['promised_seconds']:.0f} s, took {row['took_seconds']:.0f} s: {row['off']:+.1%} "
        f"({row['first_off']:+.1%} of the first), {row['trials']} trials, load "
        f"{row['load_average']:.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())
