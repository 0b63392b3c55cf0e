"""The rate that a search is centred on: what public evidence says before anything is tried."""

from __future__ import annotations

from tsplanner.planner.advice_defaults import default_learning_rate
from tsplanner.planner.plan import Plan


def prior_learning_rate(plan: Plan) -> float:
    """The learning rate that this method and model size suggest."""
    return default_learning_rate(plan.learning.method.finetuning_type, plan.model.parameters_total)
