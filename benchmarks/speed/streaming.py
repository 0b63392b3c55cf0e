"""A base in host memory against one on the GPU: seconds, bytes, losses, and the time of loading.

    python benchmarks/speed/streaming.py --bar speed --output DIR       one bar, within ten minutes
    python benchmarks/speed/streaming.py --foretell --output DIR        what is foretold of all, no run
    python benchmarks/speed/streaming.py --bar speed --tiny --output DIR   the same runs on a CPU

The runs are those of ``streaming_runs.py``, and ``streaming_judged.py`` holds them against the bars:
speed, zero3, large, bytes, link, link-7b, link-8b, inputs, losses and start. Every run is foretold before the first one starts
(DIR/foretold.json), and then made as ``tsplanner probe`` makes it, in a process of its own, with the
allocator capped where the run has a cap. DIR/streaming.json holds both. A link is slowed down by
real sleeps (``usleep``) behind every copy of a layer's piece, on the stream of the copies; copies of
layer inputs stay as fast as they are, and the forecasts say the same. ``--foretell`` plans for
an H200, on any machine. Weights of the 14B are written once to --weights, so that runs have the
same losses.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.speed.streaming_judged import judged
from benchmarks.speed.streaming_runs import (
    BARS,
    CONTEXT_BYTES,
    RUNS,
    SHAPES,
    Run,
    foretold,
    request_of,
    tiny,
    told,
)
from memory_models.units import GIB
from tsplanner.models.source import read_model
from tsplanner.planner.plan import Plan
from tsplanner.probe.runner import JOB_FILE, METRICS_FILE, prepare, run_job
from tsplanner.runs import read_json_lines, versions, write_json
from tsplanner.training.job import Job, JobKind
from tsplanner.training.record import record_file

H200 = "1x-h200-141gib"
LIMIT_SECONDS = 300
RATED_COPIES = 5
"""Copies of the first piece, the fastest of which says how long the link itself takes."""
UNTIMED = ("bytes", "losses")
"""Bars that no neighbour on the GPU moves, so that several of their runs go on side by side."""


def write_weights(shape: str, folder: Path, *, cuda: bool) -> None:
    """A folder of random bf16 weights, a file per layer, as published models have it."""
    import torch
    from safetensors.torch import save_file

    from tsplanner.training.base_model.configuration import configuration_values
    from tsplanner.training.language_model import auto_class

    source = read_model(SHAPES[shape])
    from transformers import AutoConfig

    config = AutoConfig.for_model(
        str(source.config["model_type"]), **configuration_values(source.config)
    )
    with torch.device("meta"):
        model = auto_class(config).from_config(config, dtype=torch.bfloat16)
    device = torch.device("cuda" if cuda else "cpu")
    torch.manual_seed(0)
    files: dict[str, dict[str, Any]] = {}
    tied = (
        set(getattr(model, "_tied_weights_keys", None) or ())
        if config.tie_word_embeddings
        else set()
    )
    for name, tensor in model.state_dict().items():
        if name in tied:
            continue
        parts = name.split(".")
        file = f"model-{parts[2] if parts[1] == 'layers' else 'rest'}.safetensors"
        files.setdefault(file, {})[name] = tensor
    folder.mkdir(parents=True, exist_ok=True)
    index = {}
    for file, tensors in files.items():
        made = {}
        for name, tensor in tensors.items():
            value = torch.empty(tensor.shape, dtype=torch.bfloat16, device=device)
            if tensor.dim() > 1:
                value.normal_(0, 0.02)
            else:
                value.fill_(0.0 if name.endswith("bias") else 1.0)
            made[name], index[name] = value.cpu(), file
        save_file(made, str(folder / file), metadata={"format": "pt"})
    written = {**source.config, "torch_dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(written))
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": index})
    )


def slowed(job: Path, rate: float) -> int:
    """The worker of one job, whose copies of layers take as long as at ``rate`` GB/s."""
    import torch

    from tsplanner.training.streaming import feed
    from tsplanner.training.worker.execute import execute

    copied = feed._copy
    real: list[float] = []

    def slow(device: Any, host: Any) -> None:
        if device.device.type != "cuda":
            copied(device, host)
            time.sleep(device.numel() / (1e9 * rate))
            return
        while len(real) < RATED_COPIES:
            torch.cuda.synchronize()
            began = time.perf_counter()
            copied(device, host)
            torch.cuda.synchronize()
            real.append((time.perf_counter() - began) / device.numel())
        copied(device, host)
        rest(torch.cuda.current_stream(), device.numel() * (1 / (1e9 * rate) - min(real)))

    feed._copy = slow
    return execute([job])


def rest(stream: Any, seconds: float) -> None:
    """Let a stream of the GPU wait for so long, which takes none of the GPU's processors.

    The driver calls C's ``usleep`` in a thread of its own when the stream gets there. A kernel that
    spins counts clock ticks instead, and a GPU at work ticks slower than one that waits.
    """
    if seconds <= 0:
        return
    usleep = ctypes.cast(ctypes.CDLL(None).usleep, ctypes.c_void_p)
    status = ctypes.CDLL("libcuda.so.1").cuLaunchHostFunc(
        ctypes.c_void_p(stream.cuda_stream), usleep, ctypes.c_void_p(round(1e6 * seconds))
    )
    if status:
        raise SystemExit(f"the driver refused to wait on a stream: error {status}")


def run_slowed(job: Job, rate: float) -> Any:
    """The record of a job whose link is slowed down."""
    prepare(job)
    folder = Path(job.folder)
    command = [sys.executable, __file__, "--slowed", str(rate), "--job", str(folder / JOB_FILE)]
    with (folder / "worker.log").open("w") as log:
        subprocess.run(command, stdout=log, stderr=log, timeout=LIMIT_SECONDS, check=False)
    return json.loads(record_file(folder, 0).read_text())


def read_seconds(folder: Path) -> float:
    """Seconds to read all weights of a folder once, from the system's cache where they are there."""
    began, piece = time.monotonic(), memoryview(bytearray(2**24))
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb", buffering=0) as file:
            while file.readinto(piece):
                pass
    return time.monotonic() - began


def measured(run: Run, plan: Plan, folder: Path, weights: Path | None) -> dict[str, Any]:
    """The record of a run, its losses, and the seconds that it took in all."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cap = None if run.cap_gib is None or plan.hardware.accelerator == "cpu" else run.cap_gib * GIB
    job = Job(
        kind=JobKind.PROBE,
        plan=plan,
        folder=str(folder),
        probe_steps=run.steps,
        memory_limit_bytes=None if cap is None else cap - CONTEXT_BYTES,
    )
    extra = {}
    if run.bar == "start" and weights is not None:
        read_seconds(weights)
        extra["read_seconds"] = read_seconds(weights)
    began = time.monotonic()
    if run.link is None:
        record = msgspec.to_builtins(run_job(job, time_limit_seconds=LIMIT_SECONDS))
    else:
        record = run_slowed(job, run.link)
    lines = read_json_lines(folder / METRICS_FILE)
    return {
        "record": record,
        "losses": [line["loss"] for line in lines if "loss" in line],
        "norms": [line["grad_norm"] for line in lines if "grad_norm" in line],
        "seconds_in_all": time.monotonic() - began,
        **extra,
    }


def line(row: dict[str, Any]) -> str:
    """One run in words: seconds and bytes, measured and foretold."""
    record, foretold_ = row["measured"]["record"], row["foretold"]
    memory, steps = record["memory"], record["timing"]["step_seconds"]
    seconds = min(steps) if steps else float("nan")
    peak = memory.get("peak_allocated_bytes")
    expected = foretold_["memory"]["peak_allocated_bytes"]["expected"]
    return (
        f"{foretold_['run']:20s} {record['status']} {record['message'][:120]} "
        f"step {seconds:.2f} s (foretold {foretold_['step_seconds']:.2f}) "
        f"load {record['timing']['load_seconds'] or 0:.1f} s  "
        f"peak {0 if peak is None else peak / GIB:.3f} GiB (foretold {expected / GIB:.3f}"
        f"{'' if not peak else f', {expected / peak - 1:+.2%}'})  "
        f"host {(memory.get('host_bytes') or 0) / GIB:.1f} GiB, pinned "
        f"{(memory.get('pinned_bytes') or 0) / GIB:.1f}  losses {row['measured']['losses']}"
    )


def chosen(options: argparse.Namespace) -> list[Run]:
    """The runs that were asked for."""
    names = options.only.split(",") if options.only else None
    bars = options.bar or BARS
    found = [run for run in RUNS if (run.name in names if names else run.bar in bars)]
    return [tiny(run) for run in found] if options.tiny else found


def arguments() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("/tmp/tsplanner-streaming-runs"))
    parser.add_argument("--weights", type=Path, default=Path("/tmp/tsplanner-streaming"))
    parser.add_argument("--bar", action="append", choices=BARS, help="again for another one [all]")
    parser.add_argument("--only", default="", help="names of runs, joined by commas")
    parser.add_argument("--tiny", action="store_true", help="on a CPU, without caps")
    parser.add_argument("--foretell", action="store_true", help="plan for an H200, and run nothing")
    parser.add_argument(
        "--at-once", type=int, default=1, help="runs side by side of bars without time"
    )
    parser.add_argument("--slowed", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Foretell all, then run all, and hold them against the bars."""
    options = arguments()
    if options.slowed is not None:
        sys.exit(slowed(options.job, options.slowed))
    runs = chosen(options)
    options.output.mkdir(parents=True, exist_ok=True)
    weights: dict[str, Path] = {}
    for shape in {run.shape for run in runs if run.from_files and not options.foretell}:
        weights[shape] = options.weights / shape
        if not (weights[shape] / "config.json").is_file():
            began = time.monotonic()
            write_weights(shape, weights[shape], cuda=not options.tiny)
            print(f"weights written in {time.monotonic() - began:.0f} s", flush=True)
    plans, expected = {}, {}
    for run in runs:
        where = H200 if options.foretell else None
        request = request_of(run, weights.get(run.shape), options.output / "saves", where)
        plans[run.name] = foretold(run, request)
        expected[run.name] = told(run, request, *plans[run.name])
    write_json(options.output / "foretold.json", expected)
    if options.foretell:
        for each in expected.values():
            peak = each["memory"]["peak_allocated_bytes"]["expected"] / GIB
            print(f"{each['run']:24s} {each['step_seconds']:7.2f} s  {peak:7.3f} GiB")
        return
    rows: list[dict[str, Any]] = []

    def made(run: Run) -> None:
        folder = options.output / run.name
        found = measured(run, plans[run.name][0], folder, weights.get(run.shape))
        rows.append({"foretold": expected[run.name], "measured": found})
        print(line(rows[-1]), flush=True)
        kept = {"date": time.strftime("%Y-%m-%d"), "versions": versions(), "runs": rows}
        write_json(options.output / "streaming.json", kept)

    for run in runs:
        if run.bar not in UNTIMED:
            made(run)
    with ThreadPoolExecutor(options.at_once) as pool:
        list(pool.map(made, [run for run in runs if run.bar in UNTIMED]))
    print("\n".join(judged(rows)))


if __name__ == "__main__":
    main()
