"""Estimates by recorded layers, as ``plan`` makes them, against measured runs of many families.

    python benchmarks/accuracy/recorded_runs.py benchmarks/data/measurements/families_h200_2026-11-29.json

The layers are recorded with the installed libraries; what they allocate changes between versions of
transformers, so give the versions of the runs (``pip install --target DIR transformers==5.17.0`` and
PYTHONPATH=DIR). A line per case, then medians, worst and how many bounds of the process hold.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.collect.family_runs import name_of
from memory_models.estimate import estimate_memory
from memory_models.recorded.recording import make_known
from memory_models.settings import Attention, changed
from memory_models.states.adapters import trainable_parameters
from memory_models.units import MIB
from tsplanner.hardware.describe import read_machine_file, shipped_machine
from tsplanner.models.source import find_model
from tsplanner.planner.gather.cases import case_settings
from tsplanner.tracing.recording.stranger import Stranger
from tsplanner.tracing.records import Subject

MACHINE = "2x-h200-141gib"


def main() -> None:
    """Print a line per case and the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    options = parser.parse_args()
    device = read_machine_file(shipped_machine(MACHINE)).devices[0]
    known: dict[str, Any] = {}
    allocated, reserved, covered, exact = [], [], [], []
    for row in json.loads(options.file.read_text())["cases"]:
        case = row["case"]
        if "measured" not in row or options.only not in name_of(case):
            continue
        try:
            if case["model"] not in known:
                stranger = Stranger(Subject(config=find_model(case["model"]).config))
                make_known(case["model"], stranger.record)
                known[case["model"]] = stranger.describe(case["model"], case["model"])
            architecture = known[case["model"]]
            settings = case_settings(case)
            if architecture.attention.eager_only:
                settings = changed(settings, attention=Attention.EAGER)
            found = estimate_memory(architecture, settings, device, replay=True)
        except Exception as error:
            print(f"{name_of(case):34s}{type(error).__name__}: {error!s:.150}", flush=True)
            continue
        measured = row["measured"]
        one = found.peak_allocated_bytes.expected / measured["peak_allocated_bytes"] - 1
        two = found.peak_reserved_bytes.expected / measured["peak_reserved_bytes"] - 1
        holds = found.process_bytes.upper >= measured["process_bytes"]
        counted = trainable_parameters(architecture, settings.method)
        right = counted == measured["parameters_trainable"]
        allocated.append(abs(one))
        reserved.append(abs(two))
        covered.append(holds)
        exact.append(right)
        print(
            f"{name_of(case):34s}{measured['peak_allocated_bytes'] / MIB:9.0f} MiB {one:+8.2%}"
            f"  reserved {two:+7.2%}{'' if holds else '  NOT COVERED'}"
            f"{'' if right else '  TRAINED OTHERWISE'}",
            flush=True,
        )
    for name, off in (("allocated", allocated), ("reserved", reserved)):
        late = sorted(off)[min(len(off) - 1, round(0.95 * len(off)))]
        median = statistics.median(off)
        print(f"{name}: median {median:.2%}, 95th {late:.2%}, worst {max(off):.2%}")
    print(f"bound covers {sum(covered)} of {len(covered)}; trained exact in {sum(exact)}")


if __name__ == "__main__":
    main()
