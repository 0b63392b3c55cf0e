"""A probe's prediction against its measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from memory_models.result import Interval
from memory_models.settings import LossKernel
from memory_models.units import format_gib
from tsplanner.planner.explain.sentences import checkpoint_words, describe, layout_words
from tsplanner.planner.gather.refine import PROBED_ERROR
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import HardwareSettings
from tsplanner.probe.calibration import probed_step_time, step_seconds
from tsplanner.report.text import off, seconds, table
from tsplanner.throughput.rates import MEASURED
from tsplanner.training.job import FAILURES, Status
from tsplanner.training.record import Record

ENDS = {
    Status.DEVICE_OOM: "out of GPU memory",
    Status.HOST_OOM: "out of memory",
    Status.TIMEOUT: "stopped: no time left",
    Status.STOPPED: "stopped",
    **dict.fromkeys(FAILURES, "failed"),
}
"""The words for a probe that did not finish."""
FAILURE_WIDTH = 90
"""Characters of a failure's message that the table shows."""


def inside_bound(plan: Plan, record: Record) -> bool | None:
    """Whether the process stayed under the 95 % bound; None without a measurement."""
    if record.memory.process_bytes is None:
        return None
    return record.memory.process_bytes <= plan.memory.process_bytes.upper


def predicted_seconds(plan: Plan) -> float:
    """Seconds that the plan predicts for the step of a probe, which is the longest batch."""
    factors = replace(
        MEASURED,
        work_factor=plan.corrections.work_factor,
        launch_factor=plan.corrections.launch_factor,
    )
    return probed_step_time(plan, factors).seconds


def candidate_words(hardware: HardwareSettings) -> str:
    """A candidate by its hardware settings."""
    loss = "fused" if hardware.kernels.loss_kernel is LossKernel.FUSED else "plain"
    return " · ".join(
        [
            describe(hardware),
            layout_words(hardware.batch),
            checkpoint_words(hardware),
            f"{loss} loss",
            str(hardware.kernels.attention),
        ]
    )


def search_lines(
    probed: Sequence[tuple[Plan, Record]], *, chosen: HardwareSettings, first: HardwareSettings
) -> list[str]:
    """The probes of a plan as a table, the fastest first, and why probes failed.

    Every step is one effective batch, so the seconds can be compared. Without probes ``first``
    would be chosen.
    """
    rows = [["Probed (the longest batch)", "s/step", "measured", "peak, GiB", "measured"]]
    remarks = [""]
    order = sorted(probed, key=lambda each: step_seconds(each[1]) or float("inf"))
    for plan, record in order:
        step, process = step_seconds(record), plan.memory.process_bytes
        rows.append(
            [
                candidate_words(plan.hardware),
                f"{predicted_seconds(plan):.3g}",
                "-" if step is None else f"{step:.3g}",
                format_gib(process.expected),
                format_gib(record.memory.process_bytes),
            ]
        )
        words = ["chosen"] if plan.hardware == chosen else []
        words += ["first without probes"] if plan.hardware == first != chosen else []
        words += [ENDS[record.status]] if record.status in ENDS else []
        remarks.append(", ".join(words))
    lines = [
        f"  {line}  {remark}".rstrip() for line, remark in zip(table(rows), remarks, strict=True)
    ]
    failures = {
        record.message[:FAILURE_WIDTH]
        for _, record in order
        if record.status.is_failure and record.message
    }
    return [*lines, *(f"    failed: {message}" for message in sorted(failures))]


def gain_line(plan: Plan, record: Record) -> str:
    """What a probe changes in later plans of its kind on this machine."""
    gains = []
    if record.memory.process_bytes:
        # Later plans correct the plain model, so this plan's own correction is taken out.
        raw = plan.memory.process_bytes.expected / plan.corrections.memory_factor
        gains.append(f"bytes x {record.memory.process_bytes / raw:.2f}")
    if step := step_seconds(record):
        gains.append(f"seconds x {step / probed_step_time(plan).seconds:.2f}")
    if step and plan.time.relative_error > PROBED_ERROR:
        before, after = 100 * plan.time.relative_error, 100 * PROBED_ERROR
        gains.append(f"± {after:.0f} % instead of ± {before:.0f} %")
    kind = "this model, method, kernels and length"
    return f"Later plans of {kind} here: {', '.join(gains) or 'as before'}."


def probe_lines(plan: Plan, record: Record) -> list[str]:
    """The table and its gain as lines, without quantities that this device cannot measure.

    The step is the longest batch, which takes longer than the mean step that a plan shows.
    """
    memory = plan.memory
    rows = [["", "predicted", "(95 %)", "measured", "off", ""]]
    measured: tuple[tuple[str, Interval, int | None], ...] = (
        ("allocated", memory.peak_allocated_bytes, record.memory.peak_allocated_bytes),
        ("reserved", memory.peak_reserved_bytes, record.memory.peak_reserved_bytes),
        ("process", memory.process_bytes, record.memory.process_bytes),
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
                format_gib(predicted.expected, unit=True),
                f"({format_gib(predicted.upper)})",
                format_gib(count, unit=True),
                off(predicted.expected, count),
                remark,
            ]
        )
    step, expected = step_seconds(record), predicted_seconds(plan)
    margin = f"± {seconds(plan.time.relative_error * expected)}"
    rows.append(
        [
            "step",
            seconds(expected),
            margin,
            seconds(step),
            off(expected, step),
            "of the longest batch",
        ]
    )
    return [*(f" {line}" for line in table(rows)), gain_line(plan, record)]


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
        "peak_allocated_bytes": pair(
            memory.peak_allocated_bytes, record.memory.peak_allocated_bytes
        ),
        "peak_reserved_bytes": pair(memory.peak_reserved_bytes, record.memory.peak_reserved_bytes),
        "process_bytes": pair(memory.process_bytes, record.memory.process_bytes),
        "step_seconds": {
            "predicted": predicted_seconds(plan),
            "relative_error": plan.time.relative_error,
            "measured": step_seconds(record),
        },
        "inside_bound": inside_bound(plan, record),
        "host_bytes": record.memory.host_bytes,
        "baseline_bytes": record.memory.baseline_bytes,
        "allocation_retries": record.memory.allocation_retries,
        "stored_in": stored_in,
    }
