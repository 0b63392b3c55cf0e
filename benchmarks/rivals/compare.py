"""Other estimators on the same measured cases, and tsplanner beside each on what it can express.

    python benchmarks/rivals/compare.py --environment DIR [FILES] [--only NAME ...]

DIR is a virtual environment of pinned rivals, made if it is not there. Each rival answers all its
cases in one process (``rivals_calls``). tsplanner's figures are those of ``accuracy.py``: margins
fitted without the model's family. Prints a table; a run of all rivals over all measurements also
writes data/measurements/rivals_cpu_<date>.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy.memory import FOLDER, Row, left_out, quantile, rows
from benchmarks.rivals.calls.case import Case, Rival
from benchmarks.rivals.calls.table import ABSENT, EXTRA_REQUIREMENTS, RIVALS
from benchmarks.rivals.view import view
from memory_models.estimate import estimate_memory
from memory_models.result import MemoryEstimate
from tsplanner.models.source import ModelSource
from tsplanner.planner.gather.cases import read_case

Figures = dict[str, Any]
"""A part of the report, as it is written to JSON."""
LOW = -0.02
"""An estimate of the process this far below the measured one counts as low."""


def python_of(environment: Path) -> Path:
    """The environment's interpreter; set up from the pinned versions if they are not in it."""
    python = environment / "bin" / "python"
    pinned = {f"{r.package}=={r.version}": None for r in RIVALS.values() if r.version}
    bare = [f"{r.package}=={r.version}" for r in RIVALS.values() if r.without_dependencies]
    full = [*(name for name in pinned if name not in bare), *EXTRA_REQUIREMENTS]
    stamp = environment / "rivals.txt"
    wanted = "\n".join([*full, *bare])
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    print(f"setting up {environment} ...", file=sys.stderr)
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    for names in (full, ["--no-deps", *bare]):
        subprocess.run([python, "-m", "pip", "install", "--quiet", *names], check=True)
    stamp.write_text(wanted)
    return python


def ask(name: str, python: Path, cases: Sequence[Case]) -> Figures:
    """One process of the rival over all cases: its version and answers."""
    worker = Path(__file__).parent / "calls" / "worker.py"
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "cases.json", Path(folder) / "answers.json"
        source.write_text(json.dumps(cases))
        environment = {**os.environ, "HF_HOME": folder, "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            [python, worker, name, source, target],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
        answers: Figures = json.loads(target.read_text())
        return answers


def spread(errors: Sequence[float]) -> dict[str, float] | None:
    """Absolute errors, in percent; the bias and the worst keep their sign."""
    if not errors:
        return None
    absolute = [abs(error) for error in errors]
    figures = {
        "median": statistics.median(absolute),
        "mean": statistics.mean(absolute),
        "p95": quantile(absolute, 0.95),
        "worst": max(errors, key=abs),
        "bias": statistics.median(errors),
        "low_share": sum(error < LOW for error in errors) / len(errors),
    }
    return {key: round(100 * value, 2) for key, value in figures.items()}


def errors_of(pairs: Sequence[tuple[Row, dict[str, float | None]]]) -> Figures:
    """Spread of both quantities over these cases."""
    found: Figures = {"cases": len(pairs)}
    for quantity in ("allocated", "process"):
        found[quantity] = spread(
            [
                predicted / getattr(row, quantity) - 1
                for row, figures in pairs
                if (predicted := figures[quantity]) is not None
            ]
        )
    return found


def judge(
    name: str, rival: Rival, python: Path, found: list[Row], ours: list[dict[str, float | None]]
) -> Figures:
    """One rival's line: what it can express, its errors there, and ours on the same cases."""
    views = [view(row) for row in found]
    reasons = [rival.leaves_out(case) for case in views]
    chosen = [index for index, reason in enumerate(reasons) if reason is None]
    reply = ask(name, python, [views[index] for index in chosen])
    answers = dict(zip(chosen, reply["answers"], strict=True))
    kept = [index for index in chosen if "refused" not in answers[index]]
    seconds = [answers[index]["seconds"] for index in chosen]
    kinds = sorted({str(views[index]["kind"]) for index in kept})
    return {
        "version": reply["version"],
        **errors_of([(found[index], answers[index]) for index in kept]),
        "ours": errors_of([(found[index], ours[index]) for index in kept]),
        "by_kind": {
            kind: {
                "rival": errors_of(
                    [(found[i], answers[i]) for i in kept if views[i]["kind"] == kind]
                ),
                "ours": errors_of([(found[i], ours[i]) for i in kept if views[i]["kind"] == kind]),
            }
            for kind in kinds
        },
        "seconds_first_case": round(seconds[0], 4) if seconds else None,
        "seconds_a_case": round(statistics.mean(seconds[1:]), 6) if seconds[1:] else None,
        "left_out_by": dict(Counter(reason for reason in reasons if reason)),
        "refused": dict(Counter(answers[i]["refused"] for i in chosen if i not in set(kept))),
        "untold": rival.untold,
        "meaning": rival.meaning,
    }


def ours_of(found: list[Row]) -> list[dict[str, float | None]]:
    """Our figures of every case, in the order given; margins never saw the case's family."""
    by_row: dict[int, MemoryEstimate] = {id(row): estimate for row, estimate in left_out(found)}
    return [
        {
            "allocated": float(by_row[id(row)].peak_allocated_bytes.expected),
            "process": float(by_row[id(row)].process_bytes.expected),
            "upper": float(by_row[id(row)].process_bytes.upper),
        }
        for row in found
    ]


def above_upper(found: list[Row], ours: list[dict[str, float | None]]) -> float:
    """Share of cases whose process took more than our upper bound, which verdicts go by."""
    pairs = zip(found, ours, strict=True)
    return sum(row.process > (figures["upper"] or 0) for row, figures in pairs) / len(found)


def our_seconds(found: list[Row]) -> float:
    """Mean seconds of reading and estimating one case, models read once."""
    models: dict[str, ModelSource] = {}
    began = time.perf_counter()
    for row in found:
        case = read_case(row.given, models)
        estimate_memory(case.architecture, case.settings, None)
    return round((time.perf_counter() - began) / len(found), 6)


def cells(figures: Figures) -> str:
    """The columns of one line's errors."""
    columns = {
        "allocated": ("median", "mean", "p95", "worst"),
        "process": ("median", "p95", "low_share"),
    }
    return " | ".join(
        "-" if figures[quantity] is None else f"{figures[quantity][key]:.1f}"
        for quantity, keys in columns.items()
        for key in keys
    )


def table(report: Figures) -> str:
    """Markdown: a line for each rival and one of ours on the same cases under it."""
    lines = [
        "| estimator | cases | allocated median % | mean | 95th | worst | "
        "process median % | 95th | > 2 % low, % of cases | ms a case |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    total, milliseconds = report["cases"], 1000 * report["seconds_a_case"]
    for name, line in report["rivals"].items():
        asked = line["seconds_a_case"]
        spent = "-" if asked is None else f"{1000 * asked:.2f}"
        head = f"| {name} {line['version']} | {line['cases']} of {total} | "
        lines.append(f"{head}{cells(line)} | {spent} |")
        lines.append(f"| - tsplanner, same cases | | {cells(line['ours'])} | {milliseconds:.2f} |")
    lines.append(f"| tsplanner, all | {total} | {cells(report['ours'])} | {milliseconds:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Run every rival, print the table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--environment", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=sorted(RIVALS), default=list(RIVALS))
    parser.add_argument("--date", default=datetime.date.today().isoformat())
    options = parser.parse_args()
    python = python_of(options.environment.resolve())
    paths = options.files or sorted(FOLDER.glob("memory_*.json"))
    found = rows(paths)
    if not found:
        raise SystemExit(f"No measured cases in {FOLDER}.")
    ours = ours_of(found)
    pythons = {True: python, False: Path(sys.executable)}
    report: Figures = {
        "date": options.date,
        "measurements": [path.name for path in paths],
        "cases": len(found),
        "ours": errors_of(list(zip(found, ours, strict=True))),
        "above_our_upper_bound": round(100 * above_upper(found, ours), 2),
        "seconds_a_case": our_seconds(found),
        "rivals": {
            name: judge(name, RIVALS[name], pythons[RIVALS[name].version is not None], found, ours)
            for name in options.only
        },
        "absent": ABSENT,
    }
    print(table(report))
    print(f"process above our upper bound: {report['above_our_upper_bound']:.1f} % of cases")
    for name, reason in ABSENT.items():
        print(f"not run: {name}: {reason}")
    if options.only == list(RIVALS) and not options.files:
        target = FOLDER / f"rivals_cpu_{options.date}.json"
        partial = target.with_suffix(".partial")
        partial.write_text(json.dumps(report, indent=1) + "\n")
        os.replace(partial, target)
        print(f"written to {target}")


if __name__ == "__main__":
    main()
