"""Run Trainer with ``use_liger_kernel`` on a GPU, and set the peaks beside a forecast made before.

    python benchmarks/collect/liger_runs.py forecast --output FILE     by the formulas, on the CPU
    python benchmarks/collect/liger_runs.py measure --forecast FILE --output DIR
    python benchmarks/collect/liger_runs.py report DIR/liger_runs.json

Every case is a probe job of the worker that trains, which is Trainer, with the reference kernels
and Liger's patch as Trainer's flag applies it; liger-kernel must be installed. Weights are random.
``--dry-run`` of ``measure`` launches no kernel, so that it runs on a CPU.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.collect.case_plan import plan_of
from benchmarks.collect.family_runs import Running, errors, fork, has_peaks, run_forecast, summary
from memory_models.estimate import estimate_memory
from memory_models.settings import DecoderKernels, LossKernel, changed
from memory_models.units import GIB, MIB
from tsplanner.planner.gather.cases import read_case
from tsplanner.runs import write_json

CASES = Path("benchmarks/data/cases/h200_liger.jsonl")
RESULT = "liger_runs.json"


def forecast(options: argparse.Namespace) -> None:
    """Write what every case is foretold to take."""
    rows = []
    for line in options.cases.read_text().splitlines():
        case = json.loads(line)
        read = read_case(case, {})
        estimate = estimate_memory(read.architecture, read.settings)
        sizes = ("peak_allocated_bytes", "peak_reserved_bytes", "process_bytes")
        foretold = {name: msgspec.to_builtins(getattr(estimate, name)) for name in sizes}
        foretold["parameters_trainable"] = estimate.parameters_trainable
        foretold["peak_instant"] = estimate.peak_instant
        rows.append({"case": case, "forecast": foretold})
        expected = estimate.peak_allocated_bytes.expected / GIB
        print(f"{name_of(case):70s} {expected:6.2f} GiB allocated  {estimate.peak_instant}")
    write_json(options.output, {"date": time.strftime("%Y-%m-%d"), "cases": rows})


def name_of(case: dict[str, Any]) -> str:
    """A case in a few words."""
    hidden = {"model", "kernels"}
    words = " ".join(f"{key}={value}" for key, value in case.items() if key not in hidden)
    return f"{case['model']} {words}"


def measure(options: argparse.Namespace) -> None:
    """Run the cases of a forecast under Trainer's flag."""

    def begin(row: dict[str, Any], machine: Any, folder: Path) -> Running:
        case = row["case"]
        plan = plan_of(read_case(case, {}), case, machine)
        reference = {
            "decoder_kernels": DecoderKernels.REFERENCE,
            "loss_kernel": LossKernel.PLAIN,
        }
        plan = replace(plan, hardware=changed(plan.hardware, **reference))
        return fork(row, plan, folder, launch_nothing if options.dry_run else use_liger)

    run_forecast(options, begin, RESULT)
    print(table(json.loads((options.output / RESULT).read_text())["cases"]))


def use_liger() -> None:
    """Let the worker's Trainer patch its model."""
    from tsplanner.training.worker import build

    made = build.training_arguments

    def with_liger(*given: Any, **options: Any) -> Any:
        arguments = made(*given, **options)
        arguments.use_liger_kernel = True
        return arguments

    build.training_arguments = with_liger


def launch_nothing() -> None:
    """As `use_liger`, without a GPU: kernels are launched and compute nothing."""
    use_liger()
    jit: Any = importlib.import_module("triton.runtime.jit")
    jit.KernelInterface.__getitem__ = lambda *_: lambda *_, **__: None


def table(rows: list[dict[str, Any]]) -> str:
    """A line per case, and the errors of all."""
    lines = []
    for row in rows:
        name = f"{name_of(row['case']):90s}"
        if not has_peaks(row):
            lines.append(f"{name} {row.get('error', 'ran on the CPU').strip()[-300:]}")
            continue
        allocated, reserved = errors(row)
        peak = row["measured"]["peak_allocated_bytes"] / MIB
        lines.append(f"{name} {peak:9.1f} MiB {allocated:+8.3%}  reserved {reserved:+7.2%}")
    return "\n".join([*lines, summary(rows)])


def main(arguments: list[str]) -> int:
    """Read the verb and do it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("forecast")
    verb.add_argument("--cases", type=Path, default=CASES)
    verb.add_argument("--output", required=True, type=Path)
    verb.set_defaults(run=forecast)
    verb = verbs.add_parser("measure")
    verb.add_argument("--forecast", required=True, type=Path)
    verb.add_argument("--output", required=True, type=Path)
    verb.add_argument("--minutes", type=float, default=4.0, help="no case starts later")
    verb.add_argument("--side-by-side", type=int, default=8)
    verb.add_argument("--memory-gib", type=float, default=132.0)
    verb.add_argument("--dry-run", action="store_true", help="on the CPU, without kernels")
    verb.set_defaults(run=measure, only="")
    verb = verbs.add_parser("report")
    verb.add_argument("file", type=Path)
    verb.set_defaults(
        run=lambda options: print(table(json.loads(options.file.read_text())["cases"]))
    )
    options = parser.parse_args(arguments)
    options.run(options)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
