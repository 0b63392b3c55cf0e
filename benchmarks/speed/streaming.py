"""A base in host memory against one on the GPU: seconds, bytes, losses, and the time of loading.

    python benchmarks/speed/streaming.py --output DIR [--only resident,streamed-8 ...] [--shape 14b]

Weights of the model's shape are drawn once and written to --weights, so that all runs have the same
losses. Every run is foretold before the first one starts (DIR/foretold.json), and then made as
``tsplanner probe`` makes it, in a process of its own, with the allocator capped where the run has a
cap. DIR/streaming.json holds both. ``--shape tiny`` runs the same on a CPU, without caps.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from memory_models.settings import Dtype, LossKernel, Quantization
from memory_models.units import GIB, MIB
from tsplanner.models.source import read_model
from tsplanner.planner.evaluate import Evaluated, evaluate
from tsplanner.planner.gather.requests import Subject, plan_request
from tsplanner.planner.plan import Plan
from tsplanner.planner.rank import choose
from tsplanner.planner.request import Pins, PlanRequest
from tsplanner.probe.runner import METRICS_FILE, run_job
from tsplanner.runs import read_json_lines, versions, write_json
from tsplanner.training.job import Job, JobKind

TOKENS, MICRO_BATCHES, STEPS = 4096, 8, 3
CONTEXT_BYTES = 770 * MIB
"""What the driver charges to a process beyond its allocator, which a real card has to hold too."""
SHAPES = {"tiny": "smollm2-135m", "14b": "qwen2.5-14b", "32b": "qwen2.5-32b", "72b": "qwen2.5-72b"}
LIMIT_SECONDS = 300


@dataclass(frozen=True)
class Run:
    """One run: what is pinned, and the memory that a card of its cap would have."""

    name: str
    shape: str = ""
    """Another shape than that of --shape, with random weights of its own."""
    cap_gib: int | None = None
    pins: dict[str, Any] = field(default_factory=dict)
    micro_batches: int = MICRO_BATCHES
    fewest: bool = False
    """Stream as few layers as the cap has room for, as ``plan`` does; else all of them."""


STREAMED = {"host_checkpoints": True}
ON_GPU = {"streamed_layers": 0, "zero_stage": 0}
RUNS = (
    Run("resident", pins=ON_GPU),
    Run("streamed-8", cap_gib=8, pins=STREAMED),
    Run("streamed-11-fewest", cap_gib=11, pins=STREAMED, fewest=True),
    Run("streamed-fp16-11", cap_gib=11, pins={**STREAMED, "model_dtype": Dtype.FP16}),
    Run("streamed-on-device", pins={"host_checkpoints": False}),
    Run("streamed-32b-16", shape="32b", cap_gib=16, pins=STREAMED),
    Run(
        "streamed-72b-24",
        shape="72b",
        cap_gib=24,
        micro_batches=4,
        pins={**STREAMED, "quantization": Quantization.FP8},
    ),
    Run("zero3-offload", pins={"zero_stage": 3, "offload_param": True}),
)


def request_of(run: Run, shape: str, weights: Path | None, folder: Path) -> PlanRequest:
    """What is asked of the planner: the run's shape on this machine."""
    pins = {
        "micro_batch_size": 1,
        "gradient_checkpointing": True,
        "checkpointed_layers": None,
        "loss_kernel": LossKernel.FUSED,
        "quantization": None,
        **run.pins,
    }
    if "streamed_layers" not in pins and "zero_stage" not in pins:
        pins["streamed_layers"] = layers_of(run.shape or shape)
    model = str(weights) if weights and not run.shape else SHAPES[run.shape or shape]
    tokens, batch = (64, 4) if shape == "tiny" else (TOKENS, run.micro_batches)
    subject = Subject(
        model=model,
        learning={"cutoff_len": tokens, "effective_batch_size": batch},
        pins=Pins(**pins),
    )
    return plan_request(subject, folder)


def layers_of(shape: str) -> int:
    """Decoder layers of a shape."""
    return read_model(SHAPES[shape]).architecture.num_hidden_layers


def foretold(run: Run, request: PlanRequest) -> tuple[Plan, Evaluated]:
    """The plan of a run, with as few streamed layers as its cap has room for if it says so."""
    number = request.pins.get("streamed_layers")
    room = None if run.cap_gib is None else run.cap_gib * GIB - CONTEXT_BYTES
    while run.fewest and room is not None and number > 1:
        fewer = replace(request, pins=request.pins.with_(streamed_layers=number - 1))
        hardware = choose(fewer).plan.hardware
        if evaluate(fewer, hardware).memory.peak_reserved_bytes.upper > room:
            break
        request, number = fewer, number - 1
    found = choose(request)
    return found.plan, found.best


def write_weights(shape: str, folder: Path, *, cuda: bool) -> None:
    """A folder of random bf16 weights, a file per layer, as published models have it."""
    import torch
    from safetensors.torch import save_file

    from tsplanner.training.language_model import auto_class
    from tsplanner.training.model import configuration_values

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


def measured(run: Run, plan: Plan, folder: Path) -> dict[str, Any]:
    """The record of a run, its losses, and the seconds that it took in all."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cap = None if run.cap_gib is None or plan.hardware.accelerator == "cpu" else run.cap_gib * GIB
    job = Job(
        kind=JobKind.PROBE,
        plan=plan,
        folder=str(folder),
        probe_steps=STEPS,
        memory_limit_bytes=None if cap is None else cap - CONTEXT_BYTES,
    )
    began = time.monotonic()
    record = run_job(job, time_limit_seconds=LIMIT_SECONDS)
    lines = read_json_lines(folder / METRICS_FILE)
    return {
        "record": msgspec.to_builtins(record),
        "losses": [line["loss"] for line in lines if "loss" in line],
        "norms": [line["grad_norm"] for line in lines if "grad_norm" in line],
        "seconds_in_all": time.monotonic() - began,
    }


def told(run: Run, plan: Plan, best: Evaluated) -> dict[str, Any]:
    """What is foretold of a run."""
    return {
        "run": run.name,
        "streaming": msgspec.to_builtins(plan.hardware.streaming),
        "step_seconds": plan.time.step_seconds,
        "link": msgspec.to_builtins(best.time.link),
        "exposed_seconds": best.time.exposed,
        "memory": {
            name: msgspec.to_builtins(getattr(plan.memory, name))
            for name in ("peak_allocated_bytes", "peak_reserved_bytes", "host_bytes")
        },
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


def main() -> None:
    """Foretell all, then run all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=Path("/tmp/tsplanner-streaming"))
    parser.add_argument("--shape", choices=SHAPES, default="14b")
    parser.add_argument("--only", default="", help="names of runs, joined by commas [all]")
    options = parser.parse_args()
    cuda = options.shape != "tiny"
    folder = options.weights / options.shape
    if not (folder / "config.json").is_file():
        began = time.monotonic()
        write_weights(options.shape, folder, cuda=cuda)
        print(f"weights written in {time.monotonic() - began:.0f} s", flush=True)
    wanted = options.only.split(",") if options.only else [run.name for run in RUNS]
    runs = [run for run in RUNS if run.name in wanted and (cuda or not run.shape)]
    options.output.mkdir(parents=True, exist_ok=True)
    plans = {}
    for run in runs:
        request = request_of(run, options.shape, folder, options.output / "saves")
        plans[run.name] = foretold(run, request)
    expected = {run.name: told(run, *plans[run.name]) for run in runs}
    write_json(options.output / "foretold.json", expected)
    rows = []
    for run in runs:
        row = {"foretold": expected[run.name]}
        row["measured"] = measured(run, plans[run.name][0], options.output / run.name)
        rows.append(row)
        print(line(row), flush=True)
        found = {"date": time.strftime("%Y-%m-%d"), "versions": versions(), "runs": rows}
        write_json(options.output / "streaming.json", found)


if __name__ == "__main__":
    main()
