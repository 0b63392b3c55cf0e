"""Loss curves of QLoRA with and without PEFT's cast of embeddings, head and norms to fp32.

    python benchmarks/accuracy/upcast_curve.py run --model DIR --dataset ROWS --output DIR
    python benchmarks/accuracy/upcast_curve.py report FILE

``run`` trains the model (SmolLM2-135M of benchmarks/tune/smollm2.py) in NF4 through ``tsplanner
plan`` and ``tsplanner train``, with the cast, without it, and once more without it for the noise of
the GPU, on two seeds; all of them at the same time, since nothing is timed. Held-out losses before
the first step and after every epoch, and the training loss of every step, go to DIR/curves.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tsplanner.runs import versions, write_json

ROOT = Path(__file__).resolve().parents[2]
CASES = {"cast": "on", "plain": "off", "plain again": "off"}
SEEDS = (42, 43)
SETTINGS = [
    "--quantization",
    "nf4-dq",
    "--lora-rank",
    "16",
    "--learning-rate",
    "3e-4",
    "--effective-batch",
    "16",
    "--micro-batch-size",
    "16",
    "--cutoff-len",
    "512",
]
FIRST, LAST = 20, 200
"""Steps over which the training losses are compared, after the warm-up."""


def command(folder: Path, *words: str) -> list[str]:
    """A call of the program that keeps everything in ``folder``."""
    return [sys.executable, "-W", "ignore", "-m", "tsplanner", *words, "--saves", str(folder)]


def start(options: argparse.Namespace, folder: Path, upcast: str, seed: int) -> Any:
    """Plan one run and start it."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "TSPLANNER_STATE": str(folder / "state"),
    }
    plan = ["--model", options.model, "--dataset", options.dataset, "--seed", str(seed)]
    plan += ["--epochs", str(options.epochs), "--upcast-unquantized", upcast, *SETTINGS]
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        command(folder, "plan", *plan), check=True, env=environment, stdout=subprocess.DEVNULL
    )
    log = (folder / "log").open("w")
    return subprocess.Popen(command(folder, "train"), env=environment, stdout=log, stderr=log)


def curve(folder: Path) -> dict[str, Any]:
    """The losses of one run, or the end of its log."""
    found = sorted(folder.glob("**/metrics.jsonl"))
    if not found:
        return {"error": (folder / "log").read_text(errors="replace")[-800:]}
    lines = [json.loads(line) for line in found[0].open()]
    record = json.loads((found[0].parent / "record.json").read_text())
    return {
        "status": record["status"],
        "losses": [line["loss"] for line in lines if "loss" in line],
        "held_out": [line["eval_loss"] for line in lines if "eval_loss" in line],
        "peak_allocated_bytes": record["memory"]["peak_allocated_bytes"],
    }


def run(options: argparse.Namespace) -> None:
    """Train all and write."""
    jobs = [(name, seed) for seed in SEEDS for name in CASES]
    folders = {job: Path("/tmp/upcast") / f"{job[0]}-{job[1]}".replace(" ", "-") for job in jobs}
    running = [start(options, folders[name, seed], CASES[name], seed) for name, seed in jobs]
    for process in running:
        process.wait()
    document = {
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions(),
        "settings": " ".join(SETTINGS),
        "runs": [{"case": name, "seed": seed, **curve(folders[name, seed])} for name, seed in jobs],
    }
    options.output.mkdir(parents=True, exist_ok=True)
    write_json(options.output / "curves.json", document)
    report(document)


def report(document: dict[str, Any]) -> None:
    """Held-out losses and the mean difference of the training losses."""
    found = {(row["case"], row["seed"]): row for row in document["runs"]}
    for (case, seed), row in found.items():
        if "error" in row:
            print(case, seed, "failed:", row["error"])
            continue
        gib = (row["peak_allocated_bytes"] or 0) / 2**30
        held_out = ", ".join(f"{loss:.4f}" for loss in row["held_out"])
        print(
            f"{case:12s} seed {seed}: {len(row['losses'])} steps, peak {gib:.2f} GiB, "
            f"held-out {held_out}"
        )
    for seed in SEEDS:
        plain = found["plain", seed].get("losses", [])[FIRST:LAST]
        for other in ("cast", "plain again"):
            losses = found[other, seed].get("losses", [])[FIRST:LAST]
            if not losses or not plain:
                continue
            off = [mine - theirs for mine, theirs in zip(plain, losses, strict=True)]
            print(
                f"seed {seed}: plain less {other}, steps {FIRST} to {LAST}: mean "
                f"{statistics.fmean(off):+.5f}, mean absolute "
                f"{statistics.fmean(map(abs, off)):.5f} nats"
            )


def main() -> None:
    """Run or report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    trained = verbs.add_parser("run")
    trained.add_argument("--model", required=True)
    trained.add_argument("--dataset", required=True)
    trained.add_argument("--output", type=Path, required=True)
    trained.add_argument("--epochs", type=int, default=4)
    shown = verbs.add_parser("report")
    shown.add_argument("file", type=Path)
    options = parser.parse_args()
    if options.verb == "report":
        report(json.loads(options.file.read_text()))
    else:
        run(options)


if __name__ == "__main__":
    main()
