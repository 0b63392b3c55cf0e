"""Training steps of ours beside those of Unsloth, Liger and the usual script, on the same rows.

    python benchmarks/speed/beside_peers.py run --shape 512 [--ways WAY ...] --output DIR
    python benchmarks/speed/beside_peers.py report FILE [FILE ...]

A way is ``TRAINER:key=value,...`` with the keys of ``tsplanner estimate``, or ``usual``:

    ours:micro_batch_size=16   ours:token_budget=8192   liger:micro_batch_size=16
    unsloth:micro_batch_size=8   unsloth:token_budget=8192

Each way runs in a process of its own, on random weights from one seed; ``--dry-run`` takes a tiny
shape on the CPU. Unsloth's own code is run as its wheel has it. Only real tokens are counted.
DIR/beside_peers_SHAPE.json gets a row per way as soon as the way has ended.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.speed.gain import PEAK_FLOPS
from benchmarks.speed.peers.asked import (
    SHAPES,
    USUAL,
    Shape,
    Way,
    config_folder,
    read_way,
    row_lengths,
)
from benchmarks.speed.peers.ways import run_ours, run_peer, write_weights
from memory_models.states.weights import total_parameters
from tsplanner.models.source import read_model
from tsplanner.runs import versions, write_json
from tsplanner.training.worker.environment_variables import set_defaults

COLD_STEPS = 3
"""Steps at the very beginning that no rate counts."""
PACKAGES = ("unsloth", "unsloth_zoo", "liger-kernel", "xformers", "triton")


def tokens_per_second(shape: Shape, step_seconds: list[float], first: int) -> float:
    """Real tokens of the steps from ``first`` on over their seconds."""
    timed = step_seconds[first:]
    tokens = sum(sum(row_lengths(shape, first + place)) for place in range(len(timed)))
    return tokens / sum(timed)


def at_work(shape: Shape, way: Way, folder: Path, output: Path, packages: Path | None) -> None:
    """The child's work: run the way, and leave what it measured in a file.

    ``packages``: a folder with the other trainers, which ours does not see.
    """
    if packages is not None and way.trainer != "ours":
        sys.path.insert(0, str(packages))
    place = output / way.name.replace(":", "-").replace("/", "-")
    place.mkdir(parents=True, exist_ok=True)
    log = os.open(place / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        if way.trainer == "ours":
            found = run_ours(shape, way, folder, place)
        else:
            found = run_peer(shape, way, folder, output / "weights" / folder.name)
    except Exception:
        found = {"error": traceback.format_exc()[-1500:]}
    write_json(place / "found.json", found)


def run_way(shape: Shape, way: Way, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One way in a process of its own, as a row of the result."""
    began = time.monotonic()
    # A fork has the libraries already; Unsloth must be imported before any of them.
    context = multiprocessing.get_context("fork" if way.trainer == "ours" else "spawn")
    child: Any = context.Process(
        target=at_work, args=(shape, way, folder, options.output, options.packages)
    )
    child.start()
    child.join(options.limit)
    if child.exitcode is None:
        child.kill()
        child.join()
    place = options.output / way.name.replace(":", "-").replace("/", "-")
    row: dict[str, Any] = {"shape": shape.name, "way": way.name}
    if (place / "found.json").exists():
        row |= json.loads((place / "found.json").read_text())
    else:
        row["error"] = f"ended with {child.exitcode}: {(place / 'log').read_text()[-1500:]}"
    if row.get("step_seconds"):
        seconds, row["warmup"] = row["step_seconds"], shape.warmup
        row["tokens_per_second"] = tokens_per_second(shape, seconds, shape.warmup)
        if shape.warmup > COLD_STEPS:
            first_pass = seconds[: shape.warmup]
            row["first_pass_tokens_per_second"] = tokens_per_second(shape, first_pass, COLD_STEPS)
    row["wall_seconds"] = round(time.monotonic() - began, 1)
    return row


def run(options: argparse.Namespace) -> int:
    """Every way one after the other; 0 if all of them ran."""
    set_defaults()
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    shape = SHAPES[options.shape]
    if options.steps:
        shape = replace(shape, steps=options.steps)
    if options.dry_run:
        shape = replace(shape, steps=1, length=shape.length and 32, rows=4, warmup=1)
    options.output.mkdir(parents=True, exist_ok=True)
    folder = config_folder(shape, options.output, tiny=options.dry_run)
    ways = [read_way(text) for text in options.ways or shape.ways]
    context = multiprocessing.get_context("spawn")
    if any(way.trainer == "unsloth" for way in ways):
        arguments = (shape, folder, options.output / "weights" / folder.name)
        writer = context.Process(target=write_weights, args=arguments)
        writer.start()
        writer.join()
    # These two start CUDA when they are imported, and a fork after that cannot use it.
    sys.modules["bitsandbytes"] = sys.modules["deepspeed"] = None  # type: ignore[assignment]
    import tsplanner.training.worker.execute  # noqa: F401  imports once, before any fork

    file = options.output / f"beside_peers_{shape.name}.json"
    rows: list[dict[str, Any]] = []
    for way in ways:
        rows.append(run_way(shape, way, folder, options))
        print(line(rows[-1]), flush=True)
        known = versions() | peers_versions(options.packages)
        found = {"date": time.strftime("%Y-%m-%d"), "versions": known}
        write_json(file, {**found, "device": device_name(), "rows": rows})
    return 0 if all("error" not in row for row in rows) else 1


def peers_versions(packages: Path | None) -> dict[str, str]:
    """Versions of the other trainers, where they are installed."""
    from importlib.metadata import distributions

    places = [*sys.path, *([] if packages is None else [str(packages)])]
    return {each.name: each.version for each in distributions(path=places) if each.name in PACKAGES}


def device_name() -> str:
    """The GPU, or the CPU."""
    from tsplanner.hardware.detect import detect_machine

    devices = detect_machine().devices
    return devices[0].name if devices else "cpu"


def line(row: dict[str, Any]) -> str:
    """A way in one line."""
    name = f"{row['shape']:7s} {row['way']:60s}"
    if "error" in row:
        return f"{name} failed: {row['error'][-400:]}"
    median = statistics.median(row["step_seconds"][row["warmup"] :])
    first = row.get("first_pass_tokens_per_second")
    losses = " ".join(f"{loss:.4f}" for loss in row["losses"][:3])
    memory = f"{row.get('peak_allocated_gib', 0):6.2f} GiB"
    return (
        f"{name} {row['tokens_per_second']:8,.0f} tokens/s  step {median:6.3f} s  {memory}  "
        f"losses {losses}  ({row['wall_seconds']} s)"
        + (f"  {first:,.0f} tokens/s when lengths are met first" if first else "")
    )


def group(row: dict[str, Any]) -> str:
    """The sort of way that a row is: the best of each sort is compared."""
    way = read_way(row["way"])
    if way.settings == read_way(USUAL).settings:
        return "the usual script"
    rows = "packed" if way.budget else "padded"
    base = way.settings.get("quantization", "bf16")
    kernels = way.settings.get("decoder_kernels", "fused") if way.trainer == "ours" else ""
    return " ".join(filter(None, (way.trainer, kernels, rows, base)))


def report(options: argparse.Namespace) -> int:
    """The ways of some files; then, by shape, the best of each sort, and ours over all others."""
    for file in options.files:
        document = json.loads(file.read_text())
        print(f"{file.name}: {document['device']}, {document['date']}")
        by_shape: dict[str, list[dict[str, Any]]] = {}
        for row in document["rows"]:
            by_shape.setdefault(row["shape"], []).append(row)
        for name, rows in by_shape.items():
            print("\n".join(map(line, rows)))
            compare(SHAPES[name], rows)
    return 0


def compare(shape: Shape, rows: list[dict[str, Any]]) -> None:
    """Print the best of each sort of ours over the best of every other sort."""
    weights = total_parameters(read_model(shape.model).architecture)
    best: dict[str, float] = {}
    first: dict[str, float] = {}
    for row in rows:
        sort = group(row)
        best[sort] = max(best.get(sort, 0.0), row.get("tokens_per_second", 0.0))
        met_first = row.get("first_pass_tokens_per_second", 0.0)
        first[sort] = max(first.get(sort, 0.0), met_first)
    for name, rate in sorted(best.items(), key=lambda item: -item[1]):
        if not name.startswith("ours") or not rate:
            continue
        share = 4 * weights * rate / PEAK_FLOPS
        print(f"  {name}: {rate:,.0f} tokens/s, {share:.0%} of the peak by 4N")
        print(f"    over {_ratios(best, name)}")
        if first[name]:
            print(f"    where lengths are met first: over {_ratios(first, name)}")


def _ratios(rates: dict[str, float], name: str) -> str:
    others = {key: rate for key, rate in rates.items() if rate and key != name}
    return ", ".join(f"{key} {rates[name] / rate:.2f}x" for key, rate in others.items())


def main(arguments: list[str]) -> int:
    """Parse the command line and do what it asks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    verbs = parser.add_subparsers(required=True)
    runs = verbs.add_parser("run")
    runs.add_argument("--shape", choices=sorted(SHAPES), required=True)
    runs.add_argument("--ways", nargs="+", help="the shape's own by default")
    runs.add_argument("--output", type=Path, required=True)
    runs.add_argument("--packages", type=Path, help="a folder with the other trainers' packages")
    runs.add_argument("--steps", type=int, help="timed steps")
    runs.add_argument("--limit", type=float, default=150.0, help="seconds a way may take")
    runs.add_argument("--dry-run", action="store_true", help="a tiny shape on the CPU")
    runs.set_defaults(do=run)
    reports = verbs.add_parser("report")
    reports.add_argument("files", nargs="+", type=Path)
    reports.set_defaults(do=report)
    options = parser.parse_args(arguments)
    status: int = options.do(options)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
