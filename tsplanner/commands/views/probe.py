"""What a person sees of probes: prediction against measurement, or what went wrong."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tsplanner.console import command, one_line
from tsplanner.errors import shortened
from tsplanner.planner.files import model_word
from tsplanner.planner.plan import DatasetRef, Plan
from tsplanner.probe.calibration import step_seconds
from tsplanner.probe.proof import Proof
from tsplanner.report.probe_table import predicted_seconds, probe_lines, search_lines
from tsplanner.training.job import Status
from tsplanner.training.record import Record

FAILURES = {
    Status.DEVICE_OOM: "OUT OF GPU MEMORY",
    Status.HOST_OOM: "OUT OF MEMORY",
    Status.TIMEOUT: "TIME LIMIT",
    Status.STOPPED: "STOPPED",
    Status.HUNG: "HUNG",
    Status.KILLED: "KILLED",
    Status.NOT_WRITABLE: "CANNOT WRITE",
}


LONG_ENOUGH = "1h"
"""Time for a probe that ran out of the usual ten minutes."""


def proof_lines(proof: Proof) -> list[str]:
    """What was probed, as a table."""
    rows = [(each.plan, each.record) for each in proof.probed]
    return search_lines(rows, chosen=proof.choice.plan.hardware, first=proof.first)


def proof_rows(proof: Proof) -> list[dict[str, Any]]:
    """What was probed, as plain values in the order of the probes."""
    return [
        {
            "hardware": asdict(each.plan.hardware),
            "status": each.record.status,
            "message": each.record.message,
            "predicted_step_seconds": predicted_seconds(each.plan),
            "step_seconds": step_seconds(each.record),
            "predicted_process_bytes": asdict(each.plan.memory.process_bytes),
            "process_bytes": each.record.memory.process_bytes,
            "host_bytes": each.record.memory.host_bytes,
            "chosen": each.plan.hardware == proof.choice.plan.hardware,
        }
        for each in proof.probed
    ]


def result_lines(plan: Plan, record: Record, path: Path) -> list[str]:
    """What a person reads after the bar."""
    if record.status is not Status.OK:
        again = command("plan", "--model", model_word(plan.model))
        if record.status is Status.TIMEOUT:
            again = command("probe", "--plan", path, "--time-limit", LONG_ENOUGH)
        return [*failure_lines(plan, record), f"Next   {again}"]
    return [
        *probe_lines(plan, record),
        "They are stored, and the plan that was probed is unchanged.",
        f"Next   {next_command(plan, path)}",
    ]


def next_command(plan: Plan, path: Path) -> str:
    """The command after a probe: to tune, or to plan with what a search lacks."""
    if plan.model.without_weights is not None:
        return command("plan", "--model", "FOLDER", *dataset_words(plan.dataset))
    if plan.dataset.path is None:
        return command("plan", "--model", model_word(plan.model), "--dataset", "FILE")
    return command("tune", "--plan", path, "--trials", 8)


def dataset_words(dataset: DatasetRef) -> list[str]:
    """The flags that name a plan's dataset again."""
    words = ["--dataset", dataset.path or "FILE", *dataset.further]
    if dataset.columns:
        words += ["--columns", ",".join(f"{ours}={theirs}" for ours, theirs in dataset.columns)]
    return words


def failure_lines(plan: Plan, record: Record) -> list[str]:
    """What went wrong, and what the estimate had said."""
    words = one_line(shortened(record.message))
    head = f"✘ {FAILURES.get(record.status, 'CRASHED')}   {words}"
    expected = plan.memory.process_bytes
    return [
        head,
        f"  The plan expected {expected.expected / 2**30:.2f} GiB "
        f"(95 %: {expected.upper / 2**30:.2f}), free were {plan.free_bytes / 2**30:.2f}.",
    ]
