"""Runs on two GPUs: what is planned before, and what is said of the bars after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.speed.two_cards_judged import judged
from benchmarks.speed.two_cards_runs import RUNS, plan_of, told
from tsplanner.planner.settings import HardwareSettings

MEASUREMENTS = Path(__file__).parents[2] / "benchmarks/data/measurements"
FIRST, SECOND, THIRD = (
    json.loads((MEASUREMENTS / f"foretold_two_cards_{name}h200x2_2026-11-30.json").read_text())
    for name in ("", "2_", "3_")
)


def test_thirty_runs_and_more_are_foretold_before_they_are_made() -> None:
    """Every run of the list, sharded and packed ones among them; some of the first ones again."""
    assert set(FIRST) | set(SECOND) | set(THIRD) == {run.name for run in RUNS}
    memory = [run for run in RUNS if run.part == "memory"]
    assert sum("fsdp" in run.name for run in memory) == 21
    assert sum(run.pins["token_budget"] is not None for run in memory if "ddp" in run.name) == 17
    second = {run.name for run in RUNS if run.part == "memory-2"}
    assert len(second) == 38
    assert second <= set(SECOND) - set(FIRST)


def test_a_run_has_the_settings_of_its_forecast(tmp_path: Path) -> None:
    """The first run of the list, planned again."""
    committed = FIRST[RUNS[0].name]
    found = told(RUNS[0], plan_of(RUNS[0], tmp_path, tiny=False))
    # Settings that were not there when it was foretold have their defaults.
    then, now = (msgspec.convert(each["hardware"], HardwareSettings) for each in (committed, found))
    assert now == then
    assert found["memory"]["peak_allocated_bytes"]["expected"] > 2**30


def row(name: str, part: str, foretold: float, measured: int, steps: list[float]) -> dict[str, Any]:
    """A run that took ``measured`` bytes and these seconds."""
    bounds = {"expected": foretold, "upper": 2 * foretold}
    names = ("peak_allocated_bytes", "peak_reserved_bytes", "process_bytes")
    return {
        "foretold": {
            "run": name,
            "part": part,
            "step_seconds": 1.0,
            "memory": dict.fromkeys(names, bounds),
        },
        "measured": {
            "status": "ok",
            "memory": dict.fromkeys(names, measured),
            "timing": {"step_seconds": steps},
        },
    }


def test_bars_are_judged_by_hand_made_runs() -> None:
    """Errors of 1 and 3 %: median 2 %; steps of 2 and 1 s: twice as fast, foretold half and right.

    The first two steps do not count.
    """
    said = judged(
        [
            row("0-fsdp-a", "memory", 101, 100, []),
            row("1-ddp-b", "memory", 97, 100, []),
            row("14b-one", "scaling", 1, 1, [9.0, 9.0, 2.0, 2.0]),
            row("14b-two", "scaling", 1, 1, [9.0, 9.0, 1.0, 1.0]),
            row("72b-nf4-24", "large", 101, 100, []),
            {"foretold": {"run": "2-ddp-c", "part": "memory"}, "error": "no plan"},
        ]
    )
    assert said[0].startswith("all: 2 of 3 runs, allocated median 2.00% worst 3.00%")
    assert said[3] == "scaling of 14B packed DDP on two GPUs: 2.00x (bar 1.9x)"
    assert said[4].startswith("step times before a probe: median 25% (bar 15 %)")
    assert said[5].startswith("72b-nf4-24 on two cards of 24 GiB: runs, allocated +1.00%")


@pytest.mark.parametrize("name", ["scaling", "72b", "memory"])
def test_a_part_that_was_not_run_says_so(name: str) -> None:
    """Nothing is judged of it."""
    assert any(name in each and "not run" in each for each in judged([]))
