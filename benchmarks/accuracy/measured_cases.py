"""Estimate against measurement for the cases of one file of ``measure_steps.py``.

    python benchmarks/accuracy/measured_cases.py benchmarks/data/measurements/chatts_h200_2026-11-23.json

A line a case: bytes allocated and reserved, the 95 % bound of the process, seconds a step; then
median and worst. None of these files is one that margins or rates were fitted on.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memory_models.estimate import estimate_memory
from memory_models.units import GIB
from tsplanner.hardware.describe import read_machine_file, shipped_machine
from tsplanner.models.source import ModelSource
from tsplanner.planner.gather.cases import read_case
from tsplanner.throughput.rates import rates_of
from tsplanner.throughput.step_time import step_time

SHOWN = ("sequence_length", "micro_batch_size", "checkpointed_layers")
MACHINE = "2x-h200-141gib"
HEADING = (
    f"{'model':13s}{'allocated, GiB':>16s}{'reserved, GiB':>26s}{'bound, GiB':>21s}{'s/step':>16s}"
)


@dataclass(frozen=True)
class Line:
    """One case: shares by which the estimate is off, and whether the bound covers."""

    allocated: float
    reserved: float
    seconds: float
    covered: bool


def flat_record(measured: dict[str, Any]) -> dict[str, Any]:
    """A record with its figures side by side, as measurements until 2026-11-23 have them."""
    return {**measured, **measured.get("memory", {}), **measured.get("timing", {})}


def line(row: dict[str, Any], machine: Any, models: dict[str, ModelSource]) -> Line:
    """Print one case and return its errors."""
    given = {key: value for key, value in row["case"].items() if key != "cap_bytes"}
    case, measured = read_case(given, models), flat_record(row["measured"])
    found = estimate_memory(case.architecture, case.settings, machine.devices[0], replay=True)
    seconds = statistics.median(measured["step_seconds"][measured["warmup_steps"] :])
    predicted = step_time(case.architecture, case.settings, rates_of(machine)).seconds
    allocated, reserved = found.peak_allocated_bytes.expected, found.peak_reserved_bytes.expected
    result = Line(
        allocated=allocated / measured["peak_allocated_bytes"] - 1,
        reserved=reserved / measured["peak_reserved_bytes"] - 1,
        seconds=predicted / seconds - 1,
        covered=found.process_bytes.upper >= measured["process_bytes"],
    )
    words = [str(row["case"][key]) for key in SHOWN if key in row["case"]]
    words += [str(value) for value in row["case"].values() if isinstance(value, str)][1:]
    print(
        f"{row['case']['model']:13s}"
        f"{allocated / GIB:7.2f} /{measured['peak_allocated_bytes'] / GIB:7.2f}"
        f" {100 * result.allocated:+6.2f} %"
        f"{reserved / GIB:8.2f} /{measured['peak_reserved_bytes'] / GIB:7.2f}"
        f" {100 * result.reserved:+5.1f} %"
        f"{found.process_bytes.upper / GIB:7.1f} /{measured['process_bytes'] / GIB:6.1f}"
        f" {'ok ' if result.covered else 'LOW'}"
        f"{predicted:7.2f} /{seconds:6.2f} {100 * result.seconds:+4.0f} %  {' '.join(words)}"
    )
    return result


def summary(name: str, errors: Sequence[float]) -> str:
    """Median and worst."""
    absolute = sorted(abs(error) for error in errors)
    median, worst = 100 * statistics.median(absolute), 100 * absolute[-1]
    return f"{name}: median {median:.2f} %, worst {worst:.1f} %"


def main() -> None:
    """Print a table a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    options = parser.parse_args()
    file = shipped_machine(MACHINE)
    assert file is not None
    machine = read_machine_file(file)
    models: dict[str, ModelSource] = {}
    for path in options.files:
        document = json.loads(path.read_text())
        print(f"{path.name}  {document['device']}  {document['date']}")
        print(HEADING)
        cases = document["cases"]
        rows = [row for row in cases if row.get("measured", {}).get("status") == "ok"]
        lines = [line(row, machine, models) for row in rows]
        print(
            f"{len(lines)} of {len(cases)} cases; "
            f"{summary('allocated', [one.allocated for one in lines])}; "
            f"{summary('reserved', [one.reserved for one in lines])}; "
            f"{summary('step', [one.seconds for one in lines])}; "
            f"bound covers {sum(one.covered for one in lines)}"
        )


if __name__ == "__main__":
    main()
