"""What rounding the frozen base costs in held-out loss: fp8, w8a8 and NF4 against the plain base.

    python benchmarks/accuracy/rounding_gap.py run --model DIR --dataset ROWS --output FILE
    python benchmarks/accuracy/rounding_gap.py run --cpu --epochs 8 --output FILE
    python benchmarks/accuracy/rounding_gap.py report FILE

``run`` trains LoRA on one base in each form through ``tsplanner plan`` and ``tsplanner train``, on
three seeds, and evaluates the same held-out rows after every epoch. Without --model it trains
tiny-chatts on the sample dataset: 8 epochs are 200 steps. SmolLM2-135M comes from
benchmarks/tune/smollm2.py: 9 epochs of its rows are 207 steps. With --cpu the base is in fp32 and
8-bit values are multiplied in fp32, which gives what the tensor cores give but for the rounding of
results. The gap of a form is its held-out loss less the plain base's on the same seed.
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
from tempfile import mkdtemp
from typing import Any

from tsplanner.runs import versions, write_json

ROOT = Path(__file__).resolve().parents[2]
PLAIN = "none"
FORMS = (PLAIN, "fp8", "w8a8", "nf4-dq")
SEEDS = (42, 43, 44)
SETTINGS = ["--effective-batch", "16", "--cutoff-len", "512"]


def command(folder: Path, *words: str) -> list[str]:
    """A call of the program that keeps everything in ``folder``."""
    return [sys.executable, "-W", "ignore", "-m", "tsplanner", *words, "--saves", str(folder)]


def start(options: argparse.Namespace, folder: Path, form: str, seed: int) -> Any:
    """Plan one run and start it."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "TSPLANNER_STATE": str(folder / "state"),
    }
    plan = ["--quantization", form, "--seed", str(seed), "--epochs", str(options.epochs), *SETTINGS]
    plan += ["--cpu"] if options.cpu else []
    if options.model:
        plan += ["--model", options.model, "--dataset", options.dataset]
    folder.mkdir(parents=True, exist_ok=True)
    log = (folder / "log").open("w")
    planned = command(folder, "plan", *plan)
    if subprocess.run(planned, env=environment, stdout=log, stderr=log, check=False).returncode:
        return None
    words = command(folder, "train", "--no-value-check")
    return subprocess.Popen(words, env=environment, stdout=log, stderr=log)


def curve(folder: Path) -> dict[str, Any]:
    """The losses of one run, or the end of its log."""
    found = sorted(folder.glob("**/metrics.jsonl"))
    records = sorted(folder.glob("**/record.json"))
    if not found or not records:
        return {"error": (folder / "log").read_text(errors="replace")[-800:]}
    lines = [json.loads(line) for line in found[0].open()]
    record = json.loads(records[0].read_text())
    return {
        "status": record["status"],
        "losses": [line["loss"] for line in lines if "loss" in line],
        "held_out": [line["eval_loss"] for line in lines if "eval_loss" in line],
        "peak_allocated_bytes": record["memory"]["peak_allocated_bytes"],
    }


def run(options: argparse.Namespace) -> None:
    """Train all, so many at once as asked, and write after each."""
    jobs = [(form, seed) for seed in SEEDS for form in options.forms.split(",")]
    scratch = Path(mkdtemp(prefix="rounding-gap-"))
    folders = {job: scratch / f"{job[0]}-{job[1]}" for job in jobs}
    document: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions(),
        "device": "CPU" if options.cpu else _gpu(),
        "model": Path(options.model).name if options.model else "tiny-chatts",
        "settings": " ".join([*SETTINGS, "--epochs", str(options.epochs)]),
        "runs": [],
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    for place in range(0, len(jobs), options.at_once):
        batch = jobs[place : place + options.at_once]
        running = [start(options, folders[job], *job) for job in batch]
        for process in filter(None, running):
            process.wait()
        document["runs"] += [
            {"form": form, "seed": seed, **curve(folders[form, seed])} for form, seed in batch
        ]
        write_json(options.output, document)
    report(document)


def _gpu() -> str:
    import torch

    return str(torch.cuda.get_device_name())


def report(document: dict[str, Any]) -> None:
    """The held-out losses, and the gap of each form with its scatter over the seeds."""
    print(
        f"{document['model']} on {document['device']}, {document['date']}: {document['settings']}"
    )
    found = {(row["form"], row["seed"]): row for row in document["runs"]}
    for (form, seed), row in found.items():
        if "error" in row or not row["held_out"]:
            print(f"{form:7s} seed {seed}: failed: {row.get('error', row.get('status'))}")
            continue
        held_out = ", ".join(f"{loss:.4f}" for loss in row["held_out"])
        print(f"{form:7s} seed {seed}: {len(row['losses'])} steps, held-out {held_out}")
    for when, one in {"after the last step": _last, "at the lowest of the run": min}.items():
        for form in FORMS[1:]:
            gaps = [
                one(found[form, seed]["held_out"]) - one(found[PLAIN, seed]["held_out"])
                for seed in SEEDS
                if found.get((form, seed), {}).get("held_out")
                and found.get((PLAIN, seed), {}).get("held_out")
            ]
            if not gaps:
                continue
            scatter = statistics.stdev(gaps) if len(gaps) > 1 else float("nan")
            print(
                f"{form:7s} less plain {when}: {statistics.fmean(gaps):+.4f} nats, "
                f"standard deviation {scatter:.4f} over {len(gaps)} seeds"
            )


def _last(losses: list[float]) -> float:
    return losses[-1]


def main() -> None:
    """Run or report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    trained = verbs.add_parser("run")
    trained.add_argument("--model")
    trained.add_argument("--dataset")
    trained.add_argument("--cpu", action="store_true")
    trained.add_argument("--forms", default=",".join(FORMS), help="joined by commas")
    trained.add_argument("--epochs", type=int, default=9)
    trained.add_argument("--at-once", type=int, default=1)
    trained.add_argument("--output", type=Path, required=True)
    shown = verbs.add_parser("report")
    shown.add_argument("file", type=Path)
    options = parser.parse_args()
    if options.verb == "report":
        report(json.loads(options.file.read_text()))
    else:
        run(options)


if __name__ == "__main__":
    main()
