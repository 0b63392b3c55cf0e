"""A plan with its seconds as a probe of it measured them."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tsplanner.planner.gather.refine import PROBED_ERROR
from tsplanner.planner.plan import Plan
from tsplanner.probe.calibration import probed_step_time
from tsplanner.throughput.own_factor import own_factor
from tsplanner.throughput.rates import MEASURED

PROBE_FILE = "probe.json"
"""Beside a plan: what its newest probe measured."""
DIGEST = "plan_digest"
"""Key in a probe's document: which content of the plan's file was probed."""
BASIS = "probe of this plan"
UNREADABLE = (OSError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError)
"""What reading a document of other people's making may raise."""


def plan_digest(file: Path) -> str:
    """Digest of a plan's file: a plan that was made anew is another one."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def with_probe(plan: Plan, file: Path) -> Plan:
    """The plan of ``file`` with measured seconds, if this very plan was probed; else as it is.

    Corrections change by the same factor, so that a plan of other learning settings follows; those
    of a step that waits for streamed layers by more, since the link is as fast as it was.
    """
    factor = measured_factor(file)
    if factor is None:
        return plan
    known, seconds, own = plan.corrections, plan.time, _own_factor(plan, factor)
    return replace(
        plan,
        corrections=replace(
            known,
            work_factor=known.work_factor * own,
            launch_factor=known.launch_factor * own,
        ),
        time=replace(
            seconds,
            step_seconds=seconds.step_seconds * factor,
            # The disk is as fast as it was.
            total_seconds=(seconds.total_seconds - seconds.saving_seconds) * factor
            + seconds.saving_seconds,
            evaluation_seconds=seconds.evaluation_seconds * factor,
            relative_error=min(seconds.relative_error, PROBED_ERROR),
            basis=BASIS,
        ),
    )


def _own_factor(plan: Plan, factor: float) -> float:
    if not plan.hardware.streaming.streams:
        return factor
    known = plan.corrections
    efficiency = replace(MEASURED, work_factor=known.work_factor, launch_factor=known.launch_factor)
    predicted = probed_step_time(plan, efficiency)
    return own_factor(predicted, factor * predicted.seconds)


def measured_factor(file: Path) -> float | None:
    """Measured over predicted seconds of a step; None where this plan was not probed."""
    with contextlib.suppress(
        OSError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError
    ):
        document: dict[str, Any] = json.loads((file.parent / PROBE_FILE).read_text("utf-8"))
        step = document["step_seconds"]
        if document["status"] == "ok" and document[DIGEST] == plan_digest(file):
            factor = float(step["measured"]) / float(step["predicted"])
            return factor if 0 < factor < float("inf") else None
    return None
