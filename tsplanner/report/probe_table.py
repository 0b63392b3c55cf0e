"""A probe's prediction against its measurement."""

from __future__ import annotations

from typing import Any

from memory_models.records import Interval
from tsplanner.planner.plan import Plan
from tsplanner.probe.calibration import step_seconds
from tsplanner.report.text import gib, off, seconds, table
from tsplanner.training.job import Record


def inside_bound(plan: Plan, record: Record) -> bool | None:
    """Whether the process stayed under the 95 % bound; None if it was not measured."""
    if record.process_bytes is None:
        return None
    return record.process_bytes <= plan.memory.process_bytes.upper


def probe_lines(plan: Plan, record: Record) -> list[str]:
    """The table as lines; rows that this device does not measure are left out."""
    memory = plan.memory
    rows = [["", "predicted", "(95 %)", "measured", "off", ""]]
    measured: tuple[tuple[str, Interval, int | None], ...] = (
        ("allocated", memory.peak_allocated_bytes, record.peak_allocated_bytes),
        ("reserved", memory.peak_reserved_bytes, record.peak_reserved_bytes),
        ("process", memory.process_bytes, record.process_bytes),
    )
    for name, predicted, count in measured:
        if count is None:
            continue
        remark = ""
        if name == "process":
            remark = "inside the bound" if inside_bound(plan, record) else "OVER THE BOUND"
        rows.append(
            [
                name,
                gib(predicted.expected),
                f"({gib(predicted.upper, unit=False)})",
                gib(count),
                off(predicted.expected, count),
                remark,
            ]
        )
    step, time = step_seconds(record), plan.time
    margin = f"± {seconds(time.relative_error * time.step_seconds)}"
    rows.append(
        [
            "step",
            seconds(time.step_seconds),
            margin,
            seconds(step),
            off(time.step_seconds, step),
            "",
        ]
    )
    return [f" {line}" for line in table(rows)]


def probe_document(plan: Plan, record: Record, stored_in: str | None) -> dict[str, Any]:
    """The same as plain values, for --json and probe.json."""
    memory = plan.memory

    def pair(predicted: Interval, measured: int | None) -> dict[str, int | None]:
        return {
            "predicted": predicted.expected,
            "predicted_upper": predicted.upper,
            "measured": measured,
        }

    return {
        "status": str(record.status),
        "message": record.message,
        "device_name": record.device_name,
        "peak_allocated_bytes": pair(memory.peak_allocated_bytes, record.peak_allocated_bytes),
        "peak_reserved_bytes": pair(memory.peak_reserved_bytes, record.peak_reserved_bytes),
        "process_bytes": pair(memory.process_bytes, record.process_bytes),
        "step_seconds": {
            "predicted": plan.time.step_seconds,
            "relative_error": plan.time.relative_error,
            "measured": step_seconds(record),
        },
        "inside_bound": inside_bound(plan, record),
        "host_bytes": record.host_bytes,
        "baseline_bytes": record.baseline_bytes,
        "allocation_retries": record.allocation_retries,
        "stored_in": stored_in,
    }
