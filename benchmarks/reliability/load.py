"""Large inputs as whole processes: seconds, peak memory and size of each, against its bar.

    python benchmarks/reliability/load.py [--lines 100000] [--only WORDS]

A plan for a thousand GPUs, for 64 GPUs at an effective batch of 100,000 and of a model with a thousand
layers; files of ``estimate --cases`` with equal and with different lines; a report of 500 runs. Every
figure is of one process, start included; the bars are for seconds of work on one core, so that other work
on the machine misses none. Compiled bytecode is used, as in an installed package. Ends with 1 if a bar is
missed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmarks.reliability.fuzzing import seeds

RUNS, LAYERS = 500, 1000


@dataclass(frozen=True)
class Load:
    """One command, and what it may take."""

    name: str
    words: list[str]
    seconds: float
    """Bar: seconds of work of the whole process."""
    output: Path | None = None
    """A file that it writes; its standard output goes to a file as well."""
    most_bytes: int | None = None
    """Bar: size of ``output``."""


def main() -> int:
    """A line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--only", metavar="WORDS", default="")
    options = parser.parse_args()
    missed = 0
    packages = [str(seeds.ROOT / package) for package in ("memory_models", "tsplanner")]
    subprocess.run([sys.executable, "-m", "compileall", "-q", *packages], check=True)
    print(f"{'what':<58}{'seconds':>9}{'of work':>9}{'bar':>6}{'peak MiB':>10}{'MB':>7}")
    with tempfile.TemporaryDirectory(prefix="load-") as scratch:
        os.environ["TSPLANNER_STATE"] = f"{scratch}/state"
        for load in loads(Path(scratch), options.lines):
            if options.only in load.name:
                missed += measured(load, Path(scratch))
    return 1 if missed else 0


def loads(folder: Path, lines: int) -> Iterator[Load]:
    """All commands; their inputs are written when their turn comes."""
    saves = ["--saves", str(folder / "s"), "--json"]
    full = ["--finetuning-type", "full"]
    rig = ["--gpus", "8x H100 80GB"]
    yield Load(
        "plan 70B on 1,000 GPUs",
        ["plan", "--model", "llama-3.1-70b", "--gpus", "1000x H100 80GB", *saves],
        1.0,
    )
    crowd = ["--gpus", "64x H100 80GB", "--effective-batch", "100000"]
    yield Load(
        "plan 7B full on 64 GPUs, effective batch 100,000",
        ["plan", "--model", "qwen2.5-7b", *crowd, *full, *saves],
        1.0,
    )
    deep = deep_model(folder / "deep")
    yield Load(f"plan {LAYERS:,} layers, LoRA", ["plan", "--model", deep, *rig, *saves], 1.0)
    yield Load(f"plan {LAYERS:,} layers, full", ["plan", "--model", deep, *rig, *full, *saves], 1.0)
    yield Load(f"estimate {LAYERS:,} layers", ["estimate", "--model", deep], 1.0)
    for name, cases in (("equal", equal), ("of 2,000 kinds", kinds), ("all different", different)):
        path = folder / f"{name[:3]}.jsonl"
        path.write_text("".join(f"{line}\n" for line in cases(lines)))
        yield Load(
            f"estimate --cases, {lines:,} lines, {name}",
            ["estimate", "--cases", str(path)],
            120 * lines / 100_000,
        )
    report = many_runs(folder / "runs", folder)
    words = ["report", "--saves", str(report)]
    yield Load(f"report of {RUNS} runs", words, 3.0, report / "report.html", 1_000_000)


def ended(process: int) -> tuple[int, resource.struct_rusage, int]:
    """Status and times of a process that has ended, and its peak of resident memory in KiB.

    The peak is read from /proc while it runs: ``ru_maxrss`` is never less than this script's own.
    """
    peak = 0
    while True:
        found, status, used = os.wait4(process, os.WNOHANG)
        if found:
            return status, used, peak
        with suppress(OSError):
            for line in Path(f"/proc/{process}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    peak = int(line.split()[1])
        time.sleep(0.01)


def measured(load: Load, folder: Path) -> bool:
    """Run one command and print its line; whether a bar was missed."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    began = time.perf_counter()
    with (folder / "out").open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tsplanner", *load.words],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        status, used, peak = ended(process.pid)
    waited, seconds = time.perf_counter() - began, used.ru_utime + used.ru_stime
    size = 0 if load.output is None else load.output.stat().st_size
    late = (
        seconds > load.seconds
        or status != 0
        or (load.most_bytes is not None and size > load.most_bytes)
    )
    shown = f"{size / 1e6:.2f}" if size else ""
    words = " missed" if late else ""
    print(
        f"{load.name:<58}{waited:>9.2f}{seconds:>9.2f}{load.seconds:>6.3g}{peak / 1024:>10.0f}{shown:>7}{words}",
        flush=True,
    )
    return late


def deep_model(folder: Path) -> str:
    """Qwen2.5-0.5B with a thousand layers."""
    folder.mkdir()
    config = json.loads((seeds.ROOT / "configs/models/qwen2.5-0.5b/config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": LAYERS}))
    return str(folder)


def equal(lines: int) -> Iterator[str]:
    """One case again and again."""
    return (json.dumps({"model": "qwen2.5-7b"}) for _ in range(lines))


def kinds(lines: int) -> Iterator[str]:
    """Two thousand cases of several models, in turn."""
    chance = Random(1)
    models = ("qwen2.5-7b", "llama-3.1-8b", "qwen3-14b", "gemma-2-9b", "chatts-8b")
    found = [
        json.dumps({"model": chance.choice(models), "sequence_length": chance.randrange(64, 4096), "micro_batch_size": chance.choice((1, 2, 4)),
                    "quantization": chance.choice((None, "nf4")), "lora_rank": chance.choice((8, 32))})
        for _ in range(2000)
    ]  # fmt: skip
    return (found[number % len(found)] for number in range(lines))


def different(lines: int) -> Iterator[str]:
    """One model at as many lengths and micro-batches as there are lines."""
    for number in range(lines):
        micro, length = divmod(number, 20_000)
        yield json.dumps(
            {"model": "qwen2.5-7b", "sequence_length": 64 + length, "micro_batch_size": 1 + micro}
        )


def many_runs(saves: Path, folder: Path) -> Path:
    """Finished runs of four plans, each with its own rate, seed, losses and curve."""
    chance, record = Random(1), seeds.record()
    plans = seeds.plans(folder)
    for number in range(RUNS):
        plan = json.loads(json.dumps(plans[number % len(plans)]))
        plan["learning"]["optimization"]["learning_rate"] = 10 ** chance.uniform(-5, -3)
        plan["learning"]["seed"] = number
        run = saves / plan["model"]["name"] / "lora" / f"20261129-{number + 1}"
        run.mkdir(parents=True)
        (run / "plan.json").write_text(json.dumps(plan))
        losses = [
            {"epoch": epoch, "step": 50 * epoch, "loss": chance.uniform(0.3, 0.9)}
            for epoch in (1, 2, 3)
        ]
        record["losses"] |= {
            "evaluations": losses,
            "last_loss": chance.random(),
            "mean_loss": chance.random(),
        }
        record["steps"] = 150
        (run / "record.json").write_text(json.dumps(record))
        curve = [
            {"step": step, "epoch": step / 50, "loss": 2 / (1 + step / 30) + chance.random() / 10}
            for step in range(1, 151)
        ]
        held_out = [
            {"step": each["step"], "epoch": each["epoch"], "eval_loss": each["loss"]}
            for each in losses
        ]
        (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, curve + held_out)))
    return saves


if __name__ == "__main__":
    sys.exit(main())
