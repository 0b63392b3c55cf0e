"""How much host memory a training run takes over many short rows, above what its model takes.

python benchmarks/reliability/many_rows.py --folder /tmp/many [--rows 2000000] [--steps 6]

Writes the rows once (the folder is yours to delete) and trains a tiny model on the CPU for a few
steps through the worker's own code: once over 64 rows and once over all of them. The figure is the
difference of the two peaks of anonymous memory (RssAnon of /proc/self/status, looked at every
10 ms): pages of the mapped token store belong to the file system and are told beside it. The
process that builds the store is another one, and its peak is told, too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
INTERVAL_SECONDS = 0.01


def main() -> None:
    """Train over few and over many rows, each in a process of its own, and print both peaks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--train", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.train is not None:
        print(json.dumps(train(options.folder, options.train, options.steps)))
        return
    few, many = (measured(options, rows) for rows in (64, options.rows))
    print(
        f"{options.rows:,} rows: peak of anonymous memory {many['anonymous'] / 1e6:,.0f} MB, over "
        f"64 rows {few['anonymous'] / 1e6:,.0f} MB: {(many['anonymous'] - few['anonymous']) / 1e6:,.0f}"
        f" MB above the model\nmapped pages of files {many['files'] / 1e6:,.0f} MB "
        f"({few['files'] / 1e6:,.0f} MB over 64 rows); building the store took "
        f"{many['built']:.0f} s and {many['builder'] / 1e6:,.0f} MB (PSS of all its processes)"
    )


def measured(options: argparse.Namespace, rows: int) -> dict[str, float]:
    """Peaks of a training process over ``rows`` rows, and of the builder of its store."""
    command = [sys.executable, __file__, "--folder", str(options.folder), "--train", str(rows)]
    state = {**os.environ, "TSPLANNER_STATE": str(options.folder / "state")}
    began, builder, built = time.monotonic(), 0, 0.0
    with psutil.Popen(
        [*command, "--steps", str(options.steps)], stdout=subprocess.PIPE, env=state, text=True
    ) as process:
        while process.poll() is None:
            children = process.children(recursive=True)
            if children:
                built = time.monotonic() - began
                builder = max(builder, sum(map(proportional, children)))
            time.sleep(0.2)
        found: dict[str, float] = json.loads(process.stdout.read().splitlines()[-1])
    return {**found, "builder": builder, "built": built}


def proportional(process: psutil.Process) -> int:
    """PSS of a process; 0 if it has ended."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def write_rows(path: Path, rows: int) -> None:
    """Short rows, all different."""
    with path.open("w") as file:
        for number in range(rows):
            row = {"prompt": f"Is pump {number} open?", "completion": f"Pump {number} is open."}
            file.write(json.dumps(row) + "\n")


def train(folder: Path, rows: int, steps: int) -> dict[str, int]:
    """Train over the rows in this process; its peaks of anonymous and of file pages."""
    sys.path.insert(0, str(ROOT))
    from dataclasses import replace

    from memory_models.settings import changed
    from tests.support import tiny
    from tsplanner.training.job import Job, JobKind
    from tsplanner.training.solo.recorder import Recorder
    from tsplanner.training.worker import execute

    path = folder / f"rows-{rows}.jsonl"
    if not path.is_file():
        write_rows(path, rows)
    made = folder / f"run-{rows}"
    made.mkdir(exist_ok=True)
    plan = tiny.plan(made)
    dataset = changed(plan.dataset, path=str(path), on_bad_rows="refuse")
    plan = replace(plan, dataset=dataset)
    peaks, ended = Peaks(), threading.Event()
    watch = threading.Thread(target=peaks.watch, args=(ended,))
    watch.start()
    try:
        run(plan, made, steps, execute, Job, JobKind, Recorder)
    finally:
        ended.set()
        watch.join()
    return {"anonymous": peaks.anonymous, "files": peaks.files}


def run(plan, folder, steps, execute, job_type, kinds, recorder_type) -> None:
    """The worker's own Trainer, stopped after ``steps`` optimizer steps."""
    job = job_type(kind=kinds.TRIAL, plan=plan, folder=str(folder))
    recorder = recorder_type(job, execute.MemoryMeter(cuda=False))
    done = []

    def stop() -> bool:
        done.append(None)
        return len(done) > steps

    built = execute.build_trainer(job, recorder, execute.torch.device("cpu"), stop)
    # An evaluation before the first step would read all held-out rows.
    built.args.eval_on_start = False
    built.train()


class Peaks:
    """Largest memory of this process while somebody looks."""

    def __init__(self) -> None:
        self.anonymous = self.files = 0

    def watch(self, ended: threading.Event) -> None:
        """Look until the end."""
        while not ended.wait(INTERVAL_SECONDS):
            lines = Path("/proc/self/status").read_text().splitlines()
            fields = dict(line.split(":", 1) for line in lines)
            self.anonymous = max(self.anonymous, 1024 * int(fields["RssAnon"].split()[0]))
            self.files = max(self.files, 1024 * int(fields["RssFile"].split()[0]))


if __name__ == "__main__":
    main()
