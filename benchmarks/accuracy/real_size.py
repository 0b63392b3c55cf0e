"""The whole flow at real size on this machine's GPU: plan, probe and a short tune.

    python benchmarks/accuracy/real_size.py --models qwen2.5-7b qwen2.5-14b --output DIR

Shapes come from presets, weights are random (built on the GPU): planner and probe do not care
about values, and the search learns the text's statistics from nothing. The dataset is made here:
rows of numbered sentences. Writes what each command printed and its JSON records into DIR.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOKENIZER = ROOT / "configs" / "models" / "tiny-chatts"
WORDS = [
    *("series", "trend", "level", "season", "spike", "window", "mean"),
    *("shift", "value", "point", "rises", "falls", "stays"),
]


def write_rows(path: Path, rows: int, words: int, seed: int) -> None:
    """Alpaca rows of pseudo-sentences, all about the same length."""
    draw = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            question = " ".join(draw.choice(WORDS) for _ in range(words))
            answer = " ".join(draw.choice(WORDS) for _ in range(words // 2))
            row = {"instruction": f"{number}: {question}", "input": "", "output": answer}
            file.write(json.dumps(row) + "\n")


def run(arguments: list[str], folder: Path, log: list[str]) -> tuple[int, float]:
    """One command; its words go to the log."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tsplanner", *arguments],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
    )
    seconds = time.monotonic() - began
    words = f"$ tsplanner {' '.join(arguments)}\n{done.stdout}{done.stderr[-1500:]}"
    log.append(f"{words}[{seconds:.1f} s, exit status {done.returncode}]\n")
    print(log[-1], flush=True)
    return done.returncode, seconds


def flow(
    model: str, folder: Path, options: argparse.Namespace, log: list[str]
) -> dict[str, object]:
    """Plan, probe and tune one model; returns what is worth keeping."""
    data = folder / "rows.jsonl"
    write_rows(data, options.rows, options.words, seed=1)
    plan = ["plan", "--model", model, "--dataset", str(data), "--tokenizer", str(TOKENIZER)]
    plan += [
        "--cutoff-len",
        "4096",
        "--epochs",
        "1",
        "--lora-rank",
        "16",
        "--effective-batch",
        options.batch,
    ]
    found: dict[str, object] = {"model": model}
    found["plan_status"], found["plan_seconds"] = run(plan, folder, log)
    file = folder / "saves" / model / "plan.json"
    found["probe_status"], found["probe_seconds"] = run(
        ["probe", "--plan", str(file), "--steps", "6"], folder, log
    )
    probe = file.parent / "probe.json"
    found["probe"] = json.loads(probe.read_text()) if probe.is_file() else None
    run(plan, folder, log)
    tune = ["tune", "--plan", str(file), "--trials", str(options.trials), "--epochs", "1"]
    tune.append("--random-weights")  # presets have none
    found["tune_status"], found["tune_seconds"] = run(tune, folder, log)
    for done in sorted((folder / "saves" / model).rglob("tune.json")):
        found["tune"] = json.loads(done.read_text())
    return found


def main() -> None:
    """Run the flow of every model; keep words and records."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["qwen2.5-7b", "qwen2.5-14b"])
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--trials", type=int, default=2)
    parser.add_argument("--rows", type=int, default=72)
    parser.add_argument("--words", type=int, default=400)
    parser.add_argument("--batch", default="16", help="effective batch")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    folder = options.output / "work"
    if not str(options.output).startswith("/tmp"):
        folder = Path("/tmp/tsplanner-real-size")
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("TSPLANNER_STATE", str(folder / "state"))
    log: list[str] = []
    results = []
    for model in options.models:
        results.append(flow(model, folder, options, log))
        (options.output / "real_size.json").write_text(json.dumps(results, indent=1))
        (options.output / "real_size.txt").write_text("\n".join(log))


if __name__ == "__main__":
    main()
