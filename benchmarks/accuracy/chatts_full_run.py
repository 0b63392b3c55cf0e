"""A whole ChatTS run on this machine's GPU against its plan and its probes.

    python benchmarks/accuracy/chatts_full_run.py --output DIR chatts-8b
    python benchmarks/accuracy/chatts_full_run.py --output DIR chatts-8b --quantization nf4-dq

Plans with probes, then trains one epoch on generated rows of 2 to 17 series, and prints what the
plan and the probe said of memory and speed beside what the run took. The shape is the preset's,
the weights are random; the marks of series have the ids of the tokenizer that ships here.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.speed.scan import lines
from memory_models.units import GIB

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "configs" / "models"
TOKENIZER = MODELS / "tiny-chatts"
MARKS = ("ts_token_start_index", "ts_token_end_index", "pad_token_id")


def write_model(folder: Path, preset: str) -> None:
    """The preset's shape with the shipped tokenizer's marks."""
    folder.mkdir(parents=True, exist_ok=True)
    values = json.loads((MODELS / preset / "config.json").read_text())
    own = json.loads((TOKENIZER / "config.json").read_text())
    values |= {key: own[key] for key in MARKS}
    (folder / "config.json").write_text(json.dumps(values))


def run(arguments: list[str], folder: Path) -> dict[str, Any]:
    """One command with --json; its document."""
    paths = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tsplanner", *arguments, "--json"],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths, "TSPLANNER_STATE": str(folder / "state")},
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {done.stderr[-1500:]}{done.stdout[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def shown(name: str, said: float, took: float, unit: str) -> str:
    """One line of the table."""
    return f"{name:28s}{said:10.2f}{took:10.2f} {unit:5s}{100 * (said / took - 1):+6.1f} %"


def main() -> None:
    """Plan, probe, train, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--budget", default="60s")
    options, further = parser.parse_known_args()
    folder = options.output
    write_model(folder / "model", options.preset)
    (folder / "rows.jsonl").write_bytes(b"".join(islice(lines(), options.rows)))
    plan = ["plan", "--model", "model", "--tokenizer", str(TOKENIZER), "--dataset", "rows.jsonl"]
    plan += ["--cutoff-len", "8192", "--epochs", "1", "--world-size", "1", *further]
    before = run(plan, folder)["plan"]
    after = run([*plan, "--probe", "--probe-budget", options.budget], folder)
    chosen = after["plan"]
    done = run(["train", "--random-weights"], folder)
    record_file = max(folder.glob("saves/**/record.json"), key=lambda path: path.stat().st_mtime)
    record = json.loads(record_file.read_text())
    timing, process = record["timing"], record["memory"]["process_bytes"] / GIB
    steps = sorted(timing["step_seconds"])
    document = {"before": before, "after": after, "train": done, "record": record}
    (folder / "chatts_full_run.json").write_text(json.dumps(document))
    hardware = chosen["hardware"]
    print(
        f"{options.preset} {' '.join(further)}: {chosen['dataset']['lengths']['longest']} positions"
    )
    print(hardware["batch"], hardware["kernels"])
    same = before["hardware"] == hardware
    print(f"plan before its probes chose {'the same' if same else 'other settings'}")
    bound = chosen["memory"]["process_bytes"]
    print(shown("process, probe", bound["expected"] / GIB, process, "GiB"))
    print(shown("process, bound", bound["upper"] / GIB, process, "GiB"))
    middle = steps[len(steps) // 2]
    print(shown("step", chosen["time"]["step_seconds"], middle, "s"))
    print(shown("whole run", chosen["time"]["total_seconds"], timing["seconds"], "s"))


if __name__ == "__main__":
    main()
