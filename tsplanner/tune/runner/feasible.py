"""Whether a trial fits the memory that is free, with its neighbours beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tsplanner.errors import TsplannerError
from tsplanner.planner.plan import Plan
from tsplanner.planner.replan import replan
from tsplanner.planner.settings import LearningSettings
from tsplanner.tune.runner.slots import Slots

Feasible = Callable[[LearningSettings], tuple[int, Plan]]
"""Gives the bytes over the free memory (0 or less fits), and the plan under these settings."""


def feasible_under(plan: Plan, slots: Slots) -> Feasible:
    """Tells how far over the free memory a trial is while its neighbours run beside it.

    A plan that is tight by its 95 % bound was accepted as it is; only a trial that needs more than
    the plan is rejected.
    """
    together = slots.trials_per_device
    allowed = max(plan.free_bytes, together * plan.memory.process_bytes.upper)

    def feasible(learning: LearningSettings) -> tuple[int, Plan]:
        try:
            planned = replan(plan, learning)
        except (TsplannerError, ValueError):
            # Settings that cannot run have no estimate; any number above 0 rejects them.
            return plan.free_bytes, plan
        planned = replace(planned, free_bytes=plan.free_bytes)
        return together * planned.memory.process_bytes.upper - allowed, planned

    return feasible
