"""Grids that regret is measured on: what is asked, and which files count."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.plan_quality.regret_grids import GRIDS, Grid, case_of, request_of, tables
from tsplanner.planner.rank import choose

SMALL = Grid("qwen2.5-0.5b", 512)
RAN = {"status": "ok", "step_seconds": [1.0, 1.0, 1.0], "warmup_steps": 2, "process_bytes": 1}


def test_a_grid_of_two_gpus_asks_for_a_plan_of_both() -> None:
    """As a case it runs on two processes."""
    grid = Grid("qwen2.5-0.5b", 2048, gpus=2)
    assert grid in GRIDS
    assert grid.name == "qwen2.5-0.5b lora 2048 x2"
    chosen = choose(request_of(grid, 24)).plan.hardware
    assert chosen.sharding.world_size == 2
    assert case_of(grid, chosen)["world_size"] == 2


def test_a_grid_that_one_file_has_whole_counts_though_another_was_cut_short(tmp_path: Path) -> None:
    """Of the cut file no row is read."""
    rows = [
        {"model": "qwen2.5-0.5b", "sequence_length": 512, "micro_batch_size": size}
        for size in (16, 8)
    ]
    for row in rows:
        row["gradient_accumulation_steps"] = 16 // int(row["micro_batch_size"])
    cut = [{"case": rows[0], "measured": RAN}, {"case": rows[1], "error": "out of time"}]
    whole = [{"case": rows[1], "measured": RAN}]
    paths = [tmp_path / name for name in ("cut.json", "whole.json")]
    for path, cases in zip(paths, (cut, whole), strict=True):
        path.write_text(json.dumps({"cases": cases}))
    assert tables(paths[:1]) == {}
    (table,) = tables(paths).values()
    assert [hardware.batch.micro_batch_size for hardware in table] == [8]
