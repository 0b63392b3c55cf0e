"""Accuracy of the trace against committed measurements: allocated and reserved bytes.

    python benchmarks/accuracy/traced.py                   about 40 cases that spread over recipes
    python benchmarks/accuracy/traced.py --count 0 FILES   every case of these files
    python benchmarks/accuracy/traced.py --findings FILE   also where the formulas differ, and why

One worker traces them all, on the CPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memory_models.estimate import estimate_memory
from memory_models.units import MIB
from tsplanner.errors import TsplannerError
from tsplanner.planner.gather.cases import read_case
from tsplanner.tracing.cases import TracedCase, read_traced_case
from tsplanner.tracing.client import trace_all
from tsplanner.tracing.records import Trace, TraceOutcome

FOLDER = Path(__file__).parents[1] / "data" / "measurements"
COUNT = 40
FINDING = 0.01
"""Share by which a formula must be off the trace to be listed."""
RECIPE_KEYS = (
    "finetuning_type",
    "quantization",
    "gradient_checkpointing",
    "loss_kernel",
    "attention",
    "model_dtype",
    "autocast",
    "optimizer",
    "lora_dropout",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A measured case and its trace."""

    given: dict[str, object]
    allocated: int
    reserved: int
    trace: Trace
    formula: int

    @property
    def allocated_error(self) -> float:
        """Trace over measurement, less one."""
        return self.trace.peak_allocated_bytes / self.allocated - 1

    @property
    def reserved_error(self) -> float:
        """Trace over measurement, less one."""
        return self.trace.peak_reserved_bytes / self.reserved - 1

    @property
    def formula_error(self) -> float:
        """Formula over trace, less one."""
        return self.formula / self.trace.peak_allocated_bytes - 1


def measured_entries(paths: list[Path]) -> list[dict[str, Any]]:
    """Cases that ran on one rank without ZeRO."""
    found = []
    for path in paths:
        for entry in json.loads(path.read_text())["cases"]:
            ran = entry.get("measured", {}).get("status") == "ok"
            if ran and not entry["case"].get("zero_stage"):
                found.append(entry)
    return found


def spread(entries: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """``count`` entries, one a recipe in turn; of a recipe other models each time."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in entries:
        case = entry["case"]
        groups[json.dumps([case.get(key) for key in RECIPE_KEYS])].append(entry)
    chosen: list[dict[str, Any]] = []
    for turn in range(max(len(group) for group in groups.values())):
        for shift, group in enumerate(groups.values()):
            if turn < len(group) and len(chosen) < count:
                chosen.append(group[(turn + shift) % len(group)])
    return chosen


def row_of(entry: dict[str, Any], case: TracedCase, trace: Trace) -> Row:
    given, measured = entry["case"], entry["measured"]
    read = read_case(given, {})
    formula = estimate_memory(read.architecture, read.settings, read.device)
    return Row(
        given=given,
        allocated=measured["peak_allocated_bytes"],
        reserved=measured["peak_reserved_bytes"],
        trace=trace,
        formula=formula.peak_allocated_bytes.expected,
    )


def line(row: Row) -> str:
    return (
        f"{row.trace.seconds:5.1f} s  allocated {row.allocated / MIB:9.1f} MiB "
        f"{100 * row.allocated_error:+6.2f} %  reserved {row.reserved / MIB:9.1f} MiB "
        f"{100 * row.reserved_error:+6.2f} %  formula/trace {100 * row.formula_error:+6.2f} %  "
        f"{json.dumps(row.given)}"
    )


def summary(name: str, errors: list[float]) -> str:
    """Mean, median, 95th percentile and worst of the absolute errors, in percent."""
    ordered = sorted(abs(error) for error in errors)
    late = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    signed = sorted(errors)
    return (
        f"  {name:<10} mean {100 * statistics.mean(ordered):.3f} %  "
        f"median {100 * statistics.median(ordered):.3f} %  95th {100 * late:.2f} %  "
        f"worst {100 * ordered[-1]:.2f} %  from {100 * signed[0]:+.2f} to {100 * signed[-1]:+.2f}"
    )


def finding(row: Row) -> str:
    """What is alive at the peak of a case whose formula is off."""
    kinds = ", ".join(f"{kind} {size / MIB:.1f}" for kind, size in row.trace.components.items())
    tensors = "\n".join(
        f"- {alive.bytes / MIB:.1f} MiB: {alive.count} x {alive.kind} {alive.origin}"
        for alive in row.trace.alive[:10]
    )
    return (
        f"### {json.dumps(row.given)}\nmeasured {row.allocated / MIB:.1f} MiB, trace "
        f"{100 * row.allocated_error:+.2f} %, formula over trace {100 * row.formula_error:+.2f} %; "
        f"peak in {row.trace.peak_instant}\n{kinds}\n{tensors}\n"
    )


def main() -> None:
    """Trace, print a line a case and the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--count", type=int, default=COUNT, help="0: all")
    parser.add_argument("--findings", type=Path)
    options = parser.parse_args()
    entries = measured_entries(options.files or sorted(FOLDER.glob("memory_*.json")))
    if options.count:
        entries = spread(entries, options.count)
    cases, kept = [], []
    for entry in entries:
        try:
            case = read_traced_case(entry["case"], {}, {}, trust_remote_code=False)
        except (TsplannerError, ValueError) as error:
            print(f"refused: {error}  {json.dumps(entry['case'])}", flush=True)
            continue
        cases.append(case)
        kept.append(entry)
    rows: list[Row] = []
    waiting = list(zip(kept, cases, strict=True))

    def take(outcome: TraceOutcome) -> None:
        entry, case = waiting.pop(0)
        if outcome.trace is None:
            print(f"failed: {outcome.error}  {json.dumps(entry['case'])}", flush=True)
            return
        rows.append(row_of(entry, case, outcome.trace))
        print(line(rows[-1]), flush=True)

    trace_all([case.request for case in cases], take)
    if not rows:
        raise SystemExit("No case was traced.")
    print(f"{len(rows)} cases, {sum(row.trace.seconds for row in rows):.0f} s")
    print(summary("allocated", [row.allocated_error for row in rows]))
    print(summary("reserved", [row.reserved_error for row in rows]))
    print(summary("formula", [row.formula_error for row in rows]))
    if options.findings:
        off = sorted(rows, key=lambda row: -abs(row.formula_error))
        texts = [finding(row) for row in off if abs(row.formula_error) > FINDING]
        options.findings.write_text("\n".join(texts))


if __name__ == "__main__":
    main()
