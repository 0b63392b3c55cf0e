"""Costs of a search in round figures."""

from __future__ import annotations

from tsplanner.tune.budget.costs import Costs, Evaluations, Overheads

COSTS = Costs(
    load_seconds=5.0,
    step_seconds=1.0,
    steps=80,
    evaluations=Evaluations(seconds=4.0, per_trial=4, per_full_run=3),
    overheads=Overheads(startup_seconds=10.0, trial_seconds=1.0, ending_seconds=2.0),
    max_concurrent_trials=1,
    gain=1.0,
)
"""A trial takes 5 + 80 + 16 + 1 = 102 s, the full run 5 + 80 + 12 + 1 + 2 = 100 s."""
