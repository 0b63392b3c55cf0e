"""What the planner's settings gain over the usual script, and how near they are to the GPU's peak.

    python benchmarks/speed/gain.py

The usual script: micro-batch 1, checkpointing on, plain loss, transformers' and PEFT's own
kernels. Both at effective batch 16, LoRA of rank 8 on all linears, one H200; from
measurements/steps_h200_2026-11-23.json (fused kernels) and gain_h200_2026-11-30.json (compiled
ones). A rate is of the fastest step behind the warm-up: the usual script waits for the host, whose
other work only slows it down. The share of the peak counts 4 operations a weight and token (a
frozen weight has no gradient) against the matrix rate that the GPU reached in a product of 8192^3. Last comes an NF4 base in the plan's settings
beside the same base in the build of 2026-11-23, both timed in one call.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.plan_quality.regret_grids import Grid, request_of
from memory_models.states.weights import total_parameters
from tsplanner.models.source import read_model
from tsplanner.planner.gather.cases import case_settings
from tsplanner.planner.rank import choose
from tsplanner.planner.settings import split_settings

MEASUREMENTS = Path(__file__).parents[1] / "data" / "measurements"
FILES = {"steps_h200_2026-11-23.json": False, "gain_h200_2026-11-30.json": True}
"""Whether the plans of a file run compiled kernels."""
PEAK_FLOPS = 786e12
"""bf16 product of 8192^3 on the same kind of GPU, 30 in a row (2026-11-22)."""
H200_GIB = 139
NF4, OLD_NF4 = "gain_2_h200_2026-11-30.json", "old_nf4_2_h200_2026-11-30.json"
NF4_BAR = 1.6
BARS = {("qwen3-8b", 512): 14.0, ("qwen3-8b", 2048): 2.2, ("qwen2.5-14b", 4096): 1.7}


def usual(case: dict[str, Any]) -> bool:
    """Micro-batch 1, checkpointing, plain loss, nothing of ours."""
    ours = case.get("decoder_kernels", case.get("kernels", "reference")) != "reference"
    plain = case.get("loss_kernel", "plain") == "plain"
    single = case.get("micro_batch_size", 1) == 1
    return single and plain and case.get("gradient_checkpointing", True) and not ours


def tokens_per_second(row: dict[str, Any]) -> float:
    """Of an optimizer step of 16 samples."""
    timing = row["measured"].get("timing", row["measured"])
    steps = timing["step_seconds"][timing["warmup_steps"] :]
    return float(16 * row["case"]["sequence_length"] / min(steps))


def main() -> None:
    """One line a bar and file."""
    for name, compiler in FILES.items():
        rows = json.loads((MEASUREMENTS / name).read_text())["cases"]
        print(name)
        for (model, length), bar in BARS.items():
            print(line(rows, Grid(model, length), bar, compiler=compiler))
    old, new = (fastest_nf4(name) for name in (OLD_NF4, NF4))
    print(
        f"{NF4}\n  qwen3-8b at 2048, NF4: {old:,.0f} -> {new:,.0f} tokens/s, {new / old:.2f}x (bar {NF4_BAR})"
    )


def fastest_nf4(name: str) -> float:
    """Tokens per second of the fastest NF4 row of a file."""
    rows = json.loads((MEASUREMENTS / name).read_text())["cases"]
    return max(
        tokens_per_second(row)
        for row in rows
        if row["case"].get("quantization") == "nf4" and row["measured"]["status"] == "ok"
    )


def line(rows: list[dict[str, Any]], grid: Grid, bar: float, *, compiler: bool) -> str:
    """The usual script beside the plan of one model and length."""
    found = [
        row
        for row in rows
        if (row["case"]["model"], row["case"]["sequence_length"]) == (grid.model, grid.length)
        and "quantization" not in row["case"]
    ]
    base = max(tokens_per_second(row) for row in found if usual(row["case"]))
    chosen = choose(request_of(grid, H200_GIB, compiler=compiler)).plan.hardware
    best = max(
        tokens_per_second(row)
        for row in found
        if split_settings(case_settings(row["case"]))[1] == chosen
    )
    share = 4 * total_parameters(read_model(grid.model).architecture) * best / PEAK_FLOPS
    return (
        f"  {grid.model} at {grid.length}: {base:,.0f} -> {best:,.0f} tokens/s, "
        f"{best / base:.1f}x (bar {bar}), {100 * share:.0f} % of the peak by 4N"
    )


if __name__ == "__main__":
    main()
