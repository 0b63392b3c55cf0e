"""The formulas of the later families against runs on an H200, which were measured without them."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from memory_models.estimate import estimate_memory
from tsplanner.models.decoders import READERS
from tsplanner.planner.gather.cases import read_case

ROOT = Path(__file__).parents[3]
MEASURED = ROOT / "benchmarks" / "data" / "measurements" / "families_h200_2026-11-29.json"


def runs() -> list[dict[str, Any]]:
    """Runs of families that have a formula: nine of them, three recipes each."""
    cases = json.loads(MEASURED.read_text(encoding="utf-8"))["cases"]
    found = []
    for case in cases:
        config = json.loads((ROOT / case["case"]["model"]).read_text(encoding="utf-8"))
        if config["model_type"] in READERS:
            found.append(case)
    return found


def test_the_formulas_lie_where_the_runs_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """LoRA with and without checkpointing, DoRA and full: 0.05 % at the median, 2 % at worst."""
    monkeypatch.chdir(ROOT)
    errors = []
    for run in runs():
        case = read_case(run["case"], {}, {})
        estimate = estimate_memory(case.architecture, case.settings, case.device, replay=True)
        measured = run["measured"]
        allocated = estimate.peak_allocated_bytes
        errors.append(abs(allocated.expected / measured["peak_allocated_bytes"] - 1))
        assert estimate.process_bytes.upper >= measured["process_bytes"]
    assert len(errors) >= 27
    assert statistics.median(errors) < 0.0005
    assert max(errors) < 0.02
