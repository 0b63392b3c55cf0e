"""What the runs of ``two_cards.py`` say of the bars for two GPUs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from memory_models.units import GIB

MEMORY_PARTS = ("memory", "memory-2")
WARM_UP = 2
"""First steps of a timed run that say nothing."""
Row = dict[str, Any]


def measured(row: Row) -> dict[str, Any]:
    """The record of a run that ended well; empty otherwise."""
    record: dict[str, Any] = row.get("measured") or {}
    return record if record.get("status") == "ok" else {}


def step_seconds(row: Row) -> float:
    """Mean of the steps after the first ones; nan: there are none."""
    steps = measured(row).get("timing", {}).get("step_seconds", ())[WARM_UP:]
    return statistics.mean(steps) if steps else float("nan")


def allocated_error(row: Row) -> float | None:
    """Foretold over measured allocated bytes of the fullest process, less one."""
    found = measured(row).get("memory", {}).get("peak_allocated_bytes")
    if not found:
        return None
    return float(row["foretold"]["memory"]["peak_allocated_bytes"]["expected"] / found - 1)


def covered(row: Row, name: str) -> bool | None:
    """Whether a bound is not below what was measured."""
    found = measured(row).get("memory", {}).get(name)
    return None if not found else bool(row["foretold"]["memory"][name]["upper"] >= found)


def line(row: Row) -> str:
    """One run in words."""
    foretold, record = row["foretold"], row.get("measured") or {}
    error = allocated_error(row)
    peak = record.get("memory", {}).get("peak_allocated_bytes") or 0
    told = "" if error is None else f" {peak / GIB:.3f} GiB, foretold {error:+.2%}"
    seconds = step_seconds(row)
    step = "" if math.isnan(seconds) else f" step {seconds:.2f} s"
    load = record.get("timing", {}).get("load_seconds") or 0
    status = record.get("status", "no record")
    words = row.get("error") or foretold.get("error", "")
    return (
        f"{foretold['run']:52s} {status} {record.get('message', '')[:160]}{told}{step} "
        f"(foretold {foretold.get('step_seconds', 0):.2f}) load {load:.1f} s, "
        f"in all {row.get('seconds_in_all', 0):.1f} s {words[-300:]}"
    )


def judged(rows: Sequence[Row]) -> list[str]:
    """The bars, each with what was found."""
    named = {row["foretold"]["run"]: row for row in rows}
    return [*_memory(rows), _scaling(named), _times(rows), *_large(named)]


def _memory(rows: Sequence[Row]) -> list[str]:
    found = []
    for kind in ("", "fsdp", "ddp"):
        own = [
            row
            for row in rows
            if row["foretold"]["part"] in MEMORY_PARTS and kind in row["foretold"]["run"]
        ]
        errors = [abs(each) for each in map(allocated_error, own) if each is not None]
        if not errors:
            continue
        # Runs side by side count each other's memory as their own where the driver knows no ids.
        bounds = [
            each
            for each in (covered(row, "peak_reserved_bytes") for row in own)
            if each is not None
        ]
        found.append(
            f"{kind or 'all'}: {len(errors)} of {len(own)} runs, allocated median "
            f"{statistics.median(errors):.2%} worst {max(errors):.2%} (bar 0.5 and 5 %); "
            f"bound of reserved bytes holds for {sum(bounds)} of {len(bounds)}"
        )
    return found or ["memory: not run"]


def _scaling(named: dict[str, Row]) -> str:
    pair = [named.get(name) for name in ("14b-one", "14b-two")]
    one, two = (float("nan") if row is None else step_seconds(row) for row in pair)
    if math.isnan(one / two):
        return "scaling: not run"
    return f"scaling of 14B packed DDP on two GPUs: {one / two:.2f}x (bar 1.9x)"


def _times(rows: Sequence[Row]) -> str:
    errors = {}
    for row in rows:
        seconds = step_seconds(row)
        if row["foretold"]["part"] == "scaling" and not math.isnan(seconds):
            errors[row["foretold"]["run"]] = row["foretold"]["step_seconds"] / seconds - 1
    if not errors:
        return "step times: not run"
    each = ", ".join(f"{name} {error:+.0%}" for name, error in errors.items())
    middle = statistics.median(map(abs, errors.values()))
    return f"step times before a probe: median {middle:.0%} (bar 15 %): {each}"


def _large(named: dict[str, Row]) -> list[str]:
    found = []
    for name in ("72b-nf4-24", "72b-nf4-24-short"):
        row = named.get(name, {})
        error = allocated_error(row) if row else None
        if error is None:
            found.append(f"{name} on two cards of 24 GiB: not run")
            continue
        holds = "holds" if covered(row, "process_bytes") else "is too low"
        found.append(
            f"{name} on two cards of 24 GiB: runs, allocated {error:+.2%} (bar 2 %), bound of the "
            f"process {holds}"
        )
    return found
