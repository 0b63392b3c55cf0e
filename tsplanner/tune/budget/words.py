"""The sentences of a search within a budget."""

from __future__ import annotations

import math

from memory_models.units import counted
from tsplanner.errors import TsplannerError
from tsplanner.tune.budget.controller import BudgetController
from tsplanner.tune.budget.costs import Costs
from tsplanner.tune.budget.schedule import Schedule, least_seconds

MINUTE, HOUR = 60, 3600


def span_words(seconds: float) -> str:
    """A span of time as people write it: ``2 h 48 min``, ``12 min 30 s``, ``40 s``."""
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min" + (f" {whole % MINUTE} s" if whole % MINUTE else "")
    minutes = round(seconds / MINUTE)
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")


def refuse_too_short(costs: Costs, seconds: float) -> None:
    """Raise TsplannerError for a budget that has no room for the full run."""
    least = least_seconds(costs)
    if least <= seconds:
        return
    raise TsplannerError(
        f"--budget {span_words(seconds)} is too short: training once takes about "
        f"{span_words(costs.full_seconds)} here, so give at least {math.ceil(least / MINUTE)}m."
    )


def schedule_words(planned: Schedule, costs: Costs, budget_seconds: float) -> str:
    """``3 h: 11 trials, 4 of them for the confirmation, 2 at once; full run 21 min; about …``."""
    if planned.searched:
        pairs = f", {2 * planned.pairs} of them for the confirmation" if planned.pairs else ""
        together = costs.max_concurrent_trials
        at_once = f", {together} at once" if together > 1 else ""
        what = f"{counted(planned.trials, 'trial')}{pairs}{at_once}"
    else:
        what = "no room for trials beside the full run"
    return (
        f"{span_words(budget_seconds)}: {what}; full run {span_words(costs.full_seconds)}; about "
        f"{span_words(planned.seconds)} in all"
    )


def renewal_words(planned: Schedule, costs: Costs, budget_seconds: float) -> str:
    """What the first trial took, and the schedule that follows from it."""
    took = span_words(costs.trial_seconds)
    return f"A trial takes {took}. {schedule_words(planned, costs, budget_seconds)}."


def took_words(controller: BudgetController) -> str:
    """What a search took, of how much."""
    return (
        f"took {span_words(controller.took())} of {span_words(controller.budget.seconds)}, "
        f"estimated {span_words(controller.estimate_seconds)}"
    )


def budget_document(controller: BudgetController) -> dict[str, float]:
    """The budget as plain values, seconds, under the keys that tune.json has always had."""
    return {
        "budget_seconds": controller.budget.seconds,
        "first_promised_seconds": controller.first_estimate_seconds,
        "promised_seconds": controller.estimate_seconds,
        "took_seconds": controller.took(),
    }
