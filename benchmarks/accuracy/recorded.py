"""The recorded layers' estimate against the trace of the whole model: allocated and reserved bytes.

    python benchmarks/accuracy/recorded.py                       16 families, five recipes, two lengths
    python benchmarks/accuracy/recorded.py bloom --recipes full  these alone

Each family is a model of a few layers of real width (benchmarks/collect/family_configs.py). A line per
case: MiB allocated and reserved by the whole trace, and by how many percent the recordings are off.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memory_models.architecture import Architecture
from memory_models.estimate import estimate_memory
from memory_models.units import MIB
from tsplanner.errors import TsplannerError
from tsplanner.models.source import ModelSource, read_model
from tsplanner.models.strangers import use
from tsplanner.planner.gather.cases import read_case
from tsplanner.tracing.client import trace_all
from tsplanner.tracing.estimates import Tracing
from tsplanner.tracing.recording.client import Recordings
from tsplanner.tracing.records import TraceOutcome, TraceRequest

SHAPES = Path("benchmarks/data/cases/shapes")
FAMILIES = [
    "gpt2",
    "gpt_oss",
    "bloom",
    "phi",
    "phimoe",
    "granitemoe",
    "qwen2_moe",
    "deepseek_v2",
    "mamba2",
    "falcon_h1",
    "qwen3_next",
    "lfm2",
    "llama4_text",
    "gemma3n_text",
    "mpt",
    "gptj",
]
RECIPES: dict[str, dict[str, Any]] = {
    "lora": {},
    "kept": {"gradient_checkpointing": False},
    "full": {"finetuning_type": "full"},
    "dora": {"finetuning_type": "dora", "gradient_checkpointing": False},
    "nf4": {"quantization": "nf4"},
}
SIZES = ((512, 2), (1536, 1))
"""Tokens of a row, and rows."""
BAR = 0.003
"""Share by which allocated bytes may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One case: its name, and its bytes by both ways."""

    name: str
    allocated: int
    reserved: int
    recorded_allocated: int
    recorded_reserved: int

    @property
    def allocated_error(self) -> float:
        """Recordings over the whole trace, less one."""
        return self.recorded_allocated / self.allocated - 1

    @property
    def reserved_error(self) -> float:
        """Recordings over the whole trace, less one."""
        return self.recorded_reserved / self.reserved - 1

    def __str__(self) -> str:
        """One line."""
        mark = " <-" if abs(self.allocated_error) > BAR else ""
        return (
            f"{self.name:36s} allocated {self.allocated / MIB:9.1f} {100 * self.allocated_error:+7.2f} %"
            f"  reserved {self.reserved / MIB:9.1f} {100 * self.reserved_error:+7.2f} %{mark}"
        )


def given_case(path: str, recipe: str, length: int, rows: int) -> dict[str, object]:
    """The case with the keys of ``tsplanner estimate``."""
    return {
        "model": path,
        "sequence_length": length,
        "micro_batch_size": rows,
        "lora_rank": 16,
        **RECIPES[recipe],
    }


def attention_of(architecture: Architecture) -> dict[str, object]:
    """The attention of a family that runs eager alone."""
    return {"attention": "eager"} if architecture.attention.eager_only else {}


def request_of(given: dict[str, object]) -> TraceRequest:
    """The whole trace of a case, on an H200."""
    return Tracing().case(given, {}, {}).request


def compared(kind: str, recipes: list[str]) -> list[Row]:
    """Estimate and trace every case of a family; prints a line as each is finished."""
    path = str(SHAPES / f"h200_families-{kind}.json")
    models: dict[str, ModelSource] = {}
    waiting, asked, rows = [], [], []
    for recipe in recipes:
        for length, count in SIZES:
            name = f"{kind} {recipe} {count} x {length}"
            given = given_case(path, recipe, length, count)
            try:
                models.setdefault(path, models.get(path) or read_model(path))
                given |= attention_of(models[path].architecture)
                case = read_case(given, models)
                estimate = estimate_memory(case.architecture, case.settings, None, replay=True)
            except (TsplannerError, ValueError) as error:
                print(f"{name:36s} {error}", flush=True)
                continue
            waiting.append((name, estimate))
            asked.append(request_of(given))

    def take(outcome: TraceOutcome) -> None:
        name, estimate = waiting.pop(0)
        if outcome.trace is None:
            print(f"{name:36s} no trace: {outcome.error}", flush=True)
            return
        row = Row(
            name=name,
            allocated=outcome.trace.peak_allocated_bytes,
            reserved=outcome.trace.peak_reserved_bytes,
            recorded_allocated=estimate.peak_allocated_bytes.expected,
            recorded_reserved=estimate.peak_reserved_bytes.expected,
        )
        rows.append(row)
        print(row, flush=True)

    trace_all(asked, take)
    return rows


def main() -> None:
    """Compare, and print the table and its summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", default=FAMILIES)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    options = parser.parse_args()
    recordings = Recordings()
    use(lambda: recordings)
    try:
        rows = [row for kind in options.kinds for row in compared(kind, options.recipes)]
    finally:
        recordings.close()
    for words, errors in (
        ("allocated", [abs(row.allocated_error) for row in rows]),
        ("reserved", [abs(row.reserved_error) for row in rows]),
    ):
        if errors:
            print(
                f"{words}: {len(errors)} cases, median {100 * statistics.median(errors):.3f} %, "
                f"worst {100 * max(errors):.2f} %, "
                f"{sum(error <= BAR for error in errors)} within {100 * BAR:.1f} %"
            )


if __name__ == "__main__":
    main()
