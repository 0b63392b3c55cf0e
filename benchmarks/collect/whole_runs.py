"""Train whole runs on rows of unequal length; each run is predicted before the first one starts.

    python benchmarks/collect/whole_runs.py --runs FILE.jsonl --output DIR --minutes 9

A line of the file names a model, a shape of row lengths, a number of rows and flags of ``plan`` by
field name. All plans are made and DIR/predicted.json is written before any run begins. Each run
then trains in a process of its own, as ``tsplanner train`` does, on random weights. DIR/runs.json
holds prediction, record and the widths of all micro-batches or packed passes; it is also written
when the time is up. Rows are words of the tokenizer that ships here; their lengths are drawn from
the shape. A line with ``"probe": true`` is probed as ``tsplanner probe`` does, instead of trained.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.accuracy.chatts_full_run import write_model
from benchmarks.collect.portable import portable
from memory_models.settings import BatchLayout
from memory_models.units import GIB
from tsplanner.datasets.records import DataSource
from tsplanner.planner.gather.requests import Subject, plan_request
from tsplanner.planner.plan import Plan
from tsplanner.planner.rank import choose
from tsplanner.planner.request import Pins
from tsplanner.runs import versions, write_json
from tsplanner.training.job import Job, JobKind
from tsplanner.training.record import parse_record
from tsplanner.training.worker import environment_variables

TOKENIZER = Path(__file__).resolve().parents[2] / "configs" / "models" / "tiny-chatts"
WORD = " the"
"""One token of the shipped tokenizer."""
SEED = 14
ANSWER_SHARE = 0.4
SERIES, SERIES_POINTS, SERIES_MARK = "series", 256, "<ts><ts/>"
PIN_NAMES = frozenset(
    [
        "attention",
        "world_size",
        "micro_batch_size",
        "token_budget",
        "gradient_checkpointing",
        "checkpointed_layers",
        "quantization",
        "decoder_kernels",
        "loss_kernel",
        "optimizer",
        "upcast_unquantized",
        "model_dtype",
    ]
)
KINDS = {
    "attention": "Attention",
    "decoder_kernels": "DecoderKernels",
    "finetuning_type": "FinetuningType",
    "loss_kernel": "LossKernel",
    "model_dtype": "Dtype",
    "optimizer": "Optimizer",
    "quantization": "Quantization",
}


def length(shape: str, draw: random.Random, most: int) -> int:
    """One row's text length in tokens: skewed (log-normal), uniform, two heaps, or short."""
    if shape == "skewed":
        wanted = draw.lognormvariate(5.5, 0.85)
    elif shape == "uniform":
        wanted = draw.uniform(0.05 * most, most)
    elif shape == "heaps":
        wanted = draw.gauss(0.1 * most, 10) if draw.random() < 0.7 else draw.gauss(0.85 * most, 60)
    elif shape == "short":
        wanted = draw.lognormvariate(4.2, 0.4)
    else:
        raise ValueError(f"no shape {shape}")
    return max(16, min(most, round(wanted)))


def series_row(draw: random.Random) -> dict[str, Any]:
    """A row like the 100 that were published with ChatTS: 2 to 17 series of 256 points.

    Those have 709 to 2,018 tokens of text, 32 patches a series, and 1,589 positions on average.
    """
    count, words = draw.randint(2, 17), draw.randint(550, 840)
    answer = round(ANSWER_SHARE * words)
    series = []
    for _ in range(count):
        steps = accumulate(draw.gauss(0, 1) for _ in range(SERIES_POINTS))
        series.append([round(value, 4) for value in steps])
    marks = " ".join([SERIES_MARK] * count)
    return {
        "input": f"{marks}{WORD * (words - answer)}",
        "output": (WORD * answer).strip(),
        "timeseries": series,
    }


def write_rows(path: Path, given: dict[str, Any]) -> None:
    """The run's dataset; runs with the same ``rows_of`` have the same rows.

    ``lengths``: a shape, or the tokens of every row.
    """
    draw = random.Random(f"{SEED}-{given.get('rows_of', given['name'])}")
    if given["lengths"] == SERIES:
        rows = [json.dumps(series_row(draw)) + "\n" for _ in range(given["rows"])]
        path.write_text("".join(rows))
        return
    with path.open("w") as file:
        shape = given["lengths"]
        if isinstance(shape, str):
            most = given.get("most", 2048)
            shape = [length(shape, draw, most) for _ in range(given["rows"])]
        for tokens in shape:
            answer = max(4, round(ANSWER_SHARE * tokens))
            row = {
                "instruction": (WORD * max(1, tokens - answer)).strip(),
                "input": "",
                "output": (WORD * answer).strip(),
            }
            file.write(json.dumps(row) + "\n")


def plan_of(given: dict[str, Any], folder: Path) -> Plan:
    """The plan that ``tsplanner plan`` makes for the run on this machine."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = folder / "rows.jsonl"
    write_rows(rows, given)
    model = given["model"]
    if given["lengths"] == SERIES:
        model = str(folder / "model")
        write_model(folder / "model", given["model"])
    values = typed({"num_train_epochs": 1, **given.get("settings", {})})
    pins = {name: values.pop(name) for name in list(values) if name in PIN_NAMES}
    subject = Subject(
        model=model,
        dataset=DataSource(paths=(str(rows),)),
        tokenizer=str(TOKENIZER),
        gpus=given.get("gpus"),
        learning=values,
        pins=Pins(**pins),
    )
    return choose(plan_request(subject, folder / "saves")).plan


def typed(values: dict[str, Any]) -> dict[str, Any]:
    """Values with the enums that the settings have."""
    from memory_models import settings

    return {
        name: getattr(settings, KINDS[name])(value)
        if name in KINDS and value is not None
        else value
        for name, value in values.items()
    }


def start(plan: Plan, folder: Path, *, probe: bool) -> int:
    """Fork the worker of one run; returns its process id."""
    job = Job(kind=JobKind.PROBE if probe else JobKind.TRAIN, plan=plan, folder=str(folder))
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    pid = os.fork()
    if pid == 0:
        work(plan, folder)
    return pid


def work(plan: Plan, folder: Path) -> None:
    """Be the worker and note the width of every micro-batch; never returns."""
    os.setsid()
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = 1
    try:
        del sys.modules["deepspeed"]
        if needs_bitsandbytes(plan):
            del sys.modules["bitsandbytes"]
        from tsplanner.training.worker import build
        from tsplanner.training.worker.entry import main

        note_widths(build, folder / "widths.jsonl")
        status = main([str(folder / "job.json")])
    finally:
        os._exit(status)


def note_widths(build: Any, path: Path) -> None:
    """Let the worker note the shape of every micro-batch and packed pass."""
    from tsplanner.training.packing.batch import PASSES

    collate, packed_collator = build.collate, build.packed_collator

    def noted(batch: Any) -> Any:
        with path.open("a") as file:
            for each in batch.get(PASSES, [batch]):
                file.write(f"{list(each['input_ids'].shape)}\n")
        return batch

    def packed(plan: Plan, config: Any, pad_id: int) -> Any:
        lay = packed_collator(plan, config, pad_id)
        return lambda rows: noted(lay(rows))

    build.collate = lambda items, pad_id: noted(collate(items, pad_id))
    build.packed_collator = packed


def needs_bitsandbytes(plan: Plan) -> bool:
    """Whether the run imports bitsandbytes, which no other run should pay for."""
    hardware = plan.hardware
    return bool(hardware.base.quantization) or "8bit" in hardware.kernels.optimizer


def wait(pid: int, deadline: float) -> bool:
    """Wait for the worker; False if the time was up first."""
    while True:
        done, _ = os.waitpid(pid, os.WNOHANG)
        if done:
            return True
        if time.monotonic() > deadline:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return False
        time.sleep(0.05)


def outcome(folder: Path) -> dict[str, Any]:
    """The record of a run and the widths of its micro-batches; evaluations have one row each."""
    record = folder / "record.json"
    if not record.is_file():
        log = folder / "log"
        return {"error": log.read_text(errors="replace")[-600:] if log.is_file() else "no record"}
    measured = msgspec.to_builtins(parse_record(record.read_bytes()))
    measured.pop("versions")
    widths = folder / "widths.jsonl"
    found = [json.loads(line) for line in widths.open()] if widths.is_file() else []
    metrics = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in metrics.open()] if metrics.is_file() else []
    return {"measured": measured, "widths": found, "metrics": lines}


def shape_of(batch: BatchLayout) -> str:
    """How the rows of a step are laid out, in a few words."""
    if batch.is_packed:
        return f"budget {batch.token_budget}, {batch.gradient_accumulation_steps} rows"
    return f"micro {batch.micro_batch_size} x {batch.gradient_accumulation_steps}"


def bytes_of(row: dict[str, Any], plan: Plan) -> str:
    """Predicted over measured peak of the allocator, in words."""
    measured = row.get("measured", {}).get("memory", {}).get("peak_allocated_bytes")
    if not measured:
        return "no bytes"
    over = plan.memory.peak_allocated_bytes.expected / measured - 1
    return f"{measured / GIB:.2f} GiB ({over:+.2%} foretold)"


def main() -> None:
    """Predict all, run all, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--predict-only", action="store_true")
    options = parser.parse_args()
    began = time.monotonic()
    deadline = began + 60 * options.minutes
    given = [json.loads(line) for line in options.runs.open() if line.strip()]
    work_folder = Path("/tmp/tsplanner-whole-runs")
    options.output.mkdir(parents=True, exist_ok=True)
    plans = {run["name"]: plan_of(run, work_folder / run["name"]) for run in given}
    predicted = {
        name: {
            "time": msgspec.to_builtins(plan.time),
            "peak_allocated_bytes": plan.memory.peak_allocated_bytes.expected,
            "process_bytes_upper": plan.memory.process_bytes.upper,
        }
        for name, plan in plans.items()
    }
    write_json(options.output / "predicted.json", portable(predicted))
    for name, plan in plans.items():
        batch, time_ = plan.hardware.batch, plan.time
        print(
            f"{name:28s} {shape_of(batch)} "
            f"ckpt {batch.gradient_checkpointing} steps {time_.total_steps} "
            f"{time_.step_seconds:.3f} s +- {time_.relative_error:.2f} total "
            f"{time_.total_seconds:.1f} s (eval {time_.evaluation_seconds:.1f})",
            flush=True,
        )
    if options.predict_only:
        return
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    environment_variables.set_defaults()
    sys.modules["bitsandbytes"] = sys.modules["deepspeed"] = None  # type: ignore[assignment]
    import tsplanner.training.worker.execute  # noqa: F401  imports once, before any fork

    document: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "versions": versions()}
    results: list[dict[str, Any]] = []
    for run in given:
        plan, folder = plans[run["name"]], work_folder / run["name"]
        row: dict[str, Any] = {"run": run, "plan": msgspec.to_builtins(plan)}
        row["plan"].pop("alternatives", None)
        if time.monotonic() > deadline - 10 or not wait(
            start(plan, folder, probe=run.get("probe", False)), deadline
        ):
            row["error"] = "out of time"
        row = {**outcome(folder), **row}
        results.append(row)
        timing = row.get("measured", {}).get("timing", {})
        steps = timing.get("step_seconds") or [0.0]
        status = row.get("measured", {}).get("status", row.get("error", ""))
        print(
            f"{run['name']:28s} {status[-300:]} load {timing.get('load_seconds') or 0:.1f} "
            f"steps {sum(steps):.1f} s, whole {timing.get('seconds', 0):.1f} s "
            f"predicted {plan.time.total_seconds:.1f}, {bytes_of(row, plan)} "
            f"[{time.monotonic() - began:.0f} s]",
            flush=True,
        )
        document["runs"] = results
        write_json(options.output / "runs.json", portable(document))


if __name__ == "__main__":
    main()
