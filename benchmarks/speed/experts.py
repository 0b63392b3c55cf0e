"""LoRA on the experts of a mixture: our grouped low-rank products against PEFT on transformers.

    PYTHONPATH=. python benchmarks/speed/experts.py --output DIR              # one H200
    PYTHONPATH=. python benchmarks/speed/experts.py --output DIR --dry-run    # a tiny shape, CPU

First the products themselves are checked on the device, an expert without rows included. Then every
way trains a few steps through the worker that trains for users, each in a process of its own, with
random weights of a fixed seed: first on a mixture of few layers, then on the shape of
Qwen3-30B-A3B. ``ours`` is what ``plan`` takes (fused kernels). ``experts`` differs in the experts
alone, which PEFT adapts and transformers' default runs; ``default`` has all kernels of transformers
and PEFT, and ``eager`` transformers' loop over the experts as well. Losses of the first steps show
that all learn the same. Beside each way stands what was foretold.
Writes DIR/experts.json after each way.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.collect.case_plan import plan_of
from memory_models.settings import (
    DecoderKernels,
    LossKernel,
    Optimizer,
    TrainingSettings,
    from_flat,
)
from memory_models.states.adapters import trainable_parameters
from memory_models.units import GIB
from tsplanner.hardware.detect import detect_machine
from tsplanner.models.source import read_model
from tsplanner.planner.gather.cases import Case
from tsplanner.runs import versions, write_json
from tsplanner.training.job import Job, JobKind
from tsplanner.training.record import Record, parse_record, record_file

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PRESET = "qwen3-30b-a3b"
TINY = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "moe_intermediate_size": 32,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "vocab_size": 256,
}
CHECK = """
import sys, torch
from tsplanner.training.kernels import experts
device = sys.argv[1]
torch.manual_seed(0)
count, rows, inner, outer = 8, 512, 256, 384
ends = torch.tensor([0, 100, 100, 130, 300, 300, 511, 512], dtype=torch.int32, device=device)
x = torch.randn(rows, inner, device=device).bfloat16()
w = torch.randn(count, outer, inner, device=device).bfloat16().transpose(1, 2)
y = torch.randn(rows, outer, device=device).bfloat16()
found = experts.rows_by_experts(x, w, ends), experts.experts_by_rows(x, y, ends)
experts.GROUPED = ()
wanted = experts.rows_by_experts(x, w, ends), experts.experts_by_rows(x, y, ends)
for one, two in zip(found, wanted):
    assert torch.isfinite(one.float()).all(), "not finite"
    error = ((one.float() - two.float()).norm() / two.float().norm()).item()
    assert error < 0.01, error
print("products agree, empty experts give zeros")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to train the same steps."""

    name: str
    kernels: DecoderKernels = DecoderKernels.FUSED
    own_experts: bool = True
    """Our experts, where the kernels are fused."""
    eager: bool = False
    """transformers' loop over the experts."""
    checkpointed: bool = True


FEW = (
    Way(name="ours"),
    Way(name="experts", own_experts=False),
    Way(name="default", kernels=DecoderKernels.REFERENCE),
    Way(name="eager", kernels=DecoderKernels.REFERENCE, eager=True),
    Way(name="ours, kept", checkpointed=False),
    Way(name="default, kept", kernels=DecoderKernels.REFERENCE, checkpointed=False),
)
FULL = (
    Way(name="ours"),
    Way(name="default", kernels=DecoderKernels.REFERENCE),
    Way(name="ours, kept", checkpointed=False),
    Way(name="experts", own_experts=False),
)


class Bench:
    """One machine, one folder."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.machine = detect_machine()
        self.gpu = bool(self.machine.devices)
        self.rows: list[dict[str, Any]] = []

    def model(self, layers: int, way: Way) -> Path:
        """A folder with the config of a mixture, which every way builds with the same seed."""
        config = dict(read_model(PRESET).config)
        config |= TINY if self.options.dry_run else {}
        config["num_hidden_layers"] = layers
        if way.eager:
            config["experts_implementation"] = "eager"
        folder: Path = self.options.output / f"model-{layers}{'-eager' if way.eager else ''}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    def settings(self, way: Way) -> TrainingSettings:
        """The recipe of the issue: bf16 LoRA of rank 16 on attention and experts."""
        settings: TrainingSettings = from_flat(
            TrainingSettings,
            lora_rank=self.options.rank,
            lora_target=tuple(self.options.targets.split(",")),
            sequence_length=self.options.tokens,
            gradient_checkpointing=way.checkpointed,
            decoder_kernels=way.kernels,
            loss_kernel=LossKernel.FUSED,
            optimizer=Optimizer(self.options.optimizer),
        )
        return settings

    def run(self, layers: int, way: Way) -> dict[str, Any]:
        """One way on one shape, foretold and measured."""
        began, folder = time.monotonic(), self.model(layers, way)
        settings = self.settings(way)
        case = Case(
            architecture=read_model(str(folder)).architecture, settings=settings, device=None
        )
        plan = plan_of(case, {"model": str(folder)}, self.machine)
        row: dict[str, Any] = {
            "way": way.name,
            "layers": layers,
            "trained": trainable_parameters(case.architecture, settings.method),
            "foretold": {
                "step_seconds": plan.time.step_seconds,
                "peak_allocated_gib": plan.memory.peak_allocated_bytes.expected / GIB,
            },
        }
        print("foretold", json.dumps(row), flush=True)
        place = self.options.output / f"{layers}-{way.name.replace(', ', '-')}"
        place.mkdir(parents=True, exist_ok=True)
        job = Job(kind=JobKind.PROBE, plan=plan, folder=str(place), probe_steps=self.options.steps)
        (place / "job.json").write_bytes(msgspec.json.encode(job))
        ended = work(place, way, self.options.limit)
        if record_file(place).exists():
            row["measured"] = measured(
                parse_record(record_file(place).read_bytes()), self.options.tokens
            )
            row["losses"] = losses(place)
        else:
            tail = (place / "log").read_text(errors="replace")[-1500:]
            row["error"] = f"ended with {ended}: {tail}"
        row["seconds"] = time.monotonic() - began
        self.rows.append(row)
        write_json(
            self.options.output / "experts.json", {"versions": versions(), "rows": self.rows}
        )
        print("measured", json.dumps(row), flush=True)
        return row


def work(folder: Path, way: Way, limit: float) -> int:
    """Run the worker in a fork of this process, which has imported the libraries."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        status = 1
        try:
            from tsplanner.training.kernels import fused_kernels
            from tsplanner.training.worker.entry import main

            if not way.own_experts:
                fused_kernels.is_plain_experts = lambda _: False
            status = main([str(folder / "job.json")])
        finally:
            os._exit(status)
    end = time.monotonic() + limit
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return status
        if time.monotonic() > end:
            os.killpg(pid, 9)
        time.sleep(0.05)


def measured(record: Record, tokens: int) -> dict[str, Any]:
    """What a record says, and the median step after the first ones."""
    steps = record.timing.step_seconds[2:] or record.timing.step_seconds
    median = statistics.median(steps) if steps else None
    return {
        "status": record.status,
        "message": record.message,
        "load_seconds": record.timing.load_seconds,
        "step_seconds": median,
        "all_step_seconds": record.timing.step_seconds,
        "tokens_per_second": tokens / median if median else None,
        "peak_allocated_gib": (record.memory.peak_allocated_bytes or 0) / GIB,
        "peak_reserved_gib": (record.memory.peak_reserved_bytes or 0) / GIB,
    }


def losses(folder: Path) -> list[float]:
    """The training loss of each step."""
    path = folder / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [row["loss"] for row in rows if "loss" in row]


def compare(rows: list[dict[str, Any]], layers: int) -> None:
    """Print how many times as fast ours is, and how far the forecasts were off."""
    speed = {
        row["way"]: row["measured"]["tokens_per_second"]
        for row in rows
        if row["layers"] == layers and row.get("measured", {}).get("tokens_per_second")
    }
    for name, own in ((name, own) for name, own in speed.items() if name.startswith("ours")):
        for other, rate in speed.items():
            if not other.startswith("ours"):
                print(f"{layers} layers: {name} {own / rate:.2f}x {other}", flush=True)


def main(arguments: list[str]) -> int:
    """Run all ways; 0 if all of them ran."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--optimizer", default=str(Optimizer.ADAMW_TORCH_FUSED))
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--limit", type=float, default=90.0, help="seconds a way may take")
    parser.add_argument("--only", choices=("few", "full"), help="both by default")
    parser.add_argument("--dry-run", action="store_true", help="a tiny shape on the CPU")
    options = parser.parse_args(arguments)
    if options.dry_run:
        options.tokens, options.rank, options.steps = 64, 4, 3
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    bench = Bench(options)
    check = f"{sys.executable} -c '{CHECK}' {'cuda' if bench.gpu else 'cpu'}"
    print("check", os.system(check), flush=True)
    import tsplanner.training.worker.entry  # noqa: F401  imports once, before any fork

    few, full = (2, 3) if options.dry_run else (4, 48)
    for name, layers, ways in (("few", few, FEW), ("full", full, FULL)):
        if options.only in (None, name):
            for way in ways:
                bench.run(layers, way)
            compare(bench.rows, layers)
    return 0 if all("measured" in row for row in bench.rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
