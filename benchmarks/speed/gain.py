"""What the planner's settings gain over the usual script, and how near they are to the GPU's peak.

    python benchmarks/speed/gain.py

The usual script: micro-batch 1, checkpointing on, plain loss, transformers' and PEFT's own
kernels. Both at effective batch 16, LoRA of rank 8 on all linears, one H200; from
measurements/steps_h200_2026-11-23.json. The share of the peak counts 4 operations a weight and token (a frozen
weight has no gradient) against the matrix rate that the GPU reached in a product of 8192^3.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.plan_quality.regret_grids import Grid, request_of
from memory_models.states.weights import total_parameters
from tsplanner.models.source import read_model
from tsplanner.planner.gather.cases import case_settings
from tsplanner.planner.rank import choose
from tsplanner.planner.settings import split_settings

FILE = Path(__file__).parents[1] / "data" / "measurements" / "steps_h200_2026-11-23.json"
PEAK_FLOPS = 786e12
"""bf16 product of 8192^3 on the same kind of GPU, 30 in a row (2026-11-22)."""
H200_GIB = 139
BARS = {("qwen3-8b", 512): 10.0, ("qwen3-8b", 2048): 2.2, ("qwen2.5-14b", 4096): 1.7}


def usual(case: dict[str, Any]) -> bool:
    """Micro-batch 1, checkpointing, plain loss, nothing of ours."""
    ours = "kernels" in case or not case["gradient_checkpointing"]
    return case["micro_batch_size"] == 1 and case["loss_kernel"] == "plain" and not ours


def tokens_per_second(row: dict[str, Any]) -> float:
    """Of an optimizer step of 16 samples."""
    steps = row["measured"]["step_seconds"][row["measured"]["warmup_steps"] :]
    return 16 * row["case"]["sequence_length"] / statistics.median(steps)


def main() -> None:
    """One line a bar."""
    rows = [
        row for row in json.loads(FILE.read_text())["cases"] if "quantization" not in row["case"]
    ]
    for (model, length), bar in BARS.items():
        of_model = [
            row
            for row in rows
            if (row["case"]["model"], row["case"]["sequence_length"]) == (model, length)
        ]
        base = max(tokens_per_second(row) for row in of_model if usual(row["case"]))
        chosen = choose(request_of(Grid(model, length), H200_GIB)).plan.hardware
        rows_of_choice = [
            row for row in of_model if split_settings(case_settings(row["case"]))[1] == chosen
        ]
        best = max(tokens_per_second(row) for row in rows_of_choice)
        share = 4 * total_parameters(read_model(model).architecture) * best / PEAK_FLOPS
        print(
            f"{model} at {length}: {base:,.0f} -> {best:,.0f} tokens/s, {best / base:.1f}x "
            f"(bar {bar}), {100 * share:.0f} % of the peak by 4N"
        )


if __name__ == "__main__":
    main()
