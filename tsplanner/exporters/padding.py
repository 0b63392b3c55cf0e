"""A packed plan for another project's trainer, which pads its rows: the micro-batch to take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from memory_models.settings import changed
from memory_models.units import divisors
from tsplanner.exporters.launch import Exporter, Room, spread
from tsplanner.planner.evaluate import evaluate
from tsplanner.planner.finished import finish
from tsplanner.planner.plan import Plan, Verdict
from tsplanner.planner.replan import request_again


def padded_for(exporter: Exporter, plan: Plan) -> Plan:
    """The plan as a trainer runs it: packed rows are padded instead, in the fastest micro-batch
    that surely fits there, or one by one. Our own worker runs a plan as it is.

    Seconds are those of our worker on padded rows.
    """
    if exporter.room is None or not plan.hardware.batch.is_packed:
        return plan
    found = sorted(_padded(plan), key=lambda each: each.time.step_seconds)
    fitting = [each for each in found if exporter.room(each).verdict is Verdict.FITS]
    if fitting:
        return fitting[0]
    return min(found, key=lambda each: each.hardware.batch.micro_batch_size)


def room_of(exporter: Exporter, plan: Plan, nodes: int) -> Room | None:
    """Whether a plan fits on ``nodes`` machines under a trainer; None: our own worker runs it."""
    if exporter.room is None:
        return None
    return exporter.room(padded_for(exporter, spread(plan, nodes)))


def _padded(plan: Plan) -> Iterator[Plan]:
    """The plan with its rows padded, in every micro-batch that divides a step's rows."""
    request = request_again(plan, plan.learning)
    rows = plan.hardware.batch.gradient_accumulation_steps
    for micro in divisors(rows, rows):
        hardware = changed(
            plan.hardware,
            token_budget=None,
            micro_batch_size=micro,
            gradient_accumulation_steps=rows // micro,
        )
        planned = finish(request, evaluate(request, hardware))
        yield replace(plan, hardware=hardware, time=planned.time, memory=planned.memory)
