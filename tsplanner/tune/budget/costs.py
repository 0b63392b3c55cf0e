"""What the parts of a search take, in seconds: predicted, then corrected by trials."""

from __future__ import annotations

import math
from dataclasses import field, replace

from memory_models.frozen import frozen
from tsplanner.planner.plan import Plan
from tsplanner.planner.steps import epochs_of, evaluations
from tsplanner.tune.runner.monitor import EVALUATIONS

READ_BYTES_PER_SECOND = 1e9
"""Reading a base from a warm disk; small beside a trial."""
WEIGHT_BYTES = 2
"""Bytes per parameter of a stored base."""
LEAST_LOAD_SECONDS = 1.0
LEAST_FULL_SECONDS = 0.1
"""A full run that took less than its overhead counts as this long."""


@frozen
class Evaluations:
    """Passes over the held-out examples."""

    seconds: float
    """Seconds per pass."""
    per_trial: int
    per_full_run: int


@frozen
class Overheads:
    """What surrounds training; the defaults hold until this machine has shown its own."""

    startup_seconds: float = 8.0
    """Seconds until the first trial begins to load: imports."""
    trial_seconds: float = 0.7
    """Seconds of a trial or full run from asked for to begun, and from ended to told."""
    ending_seconds: float = 1.0
    """Seconds after the full run: the report."""


@frozen
class TimeFactors:
    """Measured over predicted times."""

    trial: float = 1.0
    """Measured / predicted time of trials."""
    full: float = 1.0
    """Measured / predicted time of the full run, after trial timings were applied."""


@frozen
class Costs:
    """What the parts of a search take."""

    load_seconds: float
    step_seconds: float
    """Seconds per optimizer step of a run that has the device to itself."""
    steps: int
    """Optimizer steps of a trial, and of the full run."""
    evaluations: Evaluations
    max_concurrent_trials: int
    """Number of trials that run at once."""
    gain: float
    """Trial steps per second of all trials at once, over those of one trial alone."""
    overheads: Overheads = field(default_factory=Overheads)
    factors: TimeFactors = field(default_factory=TimeFactors)
    saving_seconds: float = 0.0
    """Seconds of the full run's checkpoints; a trial writes none."""

    @property
    def startup_seconds(self) -> float:
        """Seconds until the first trial begins to load."""
        return self.overheads.startup_seconds

    @property
    def inside_seconds(self) -> float:
        """Seconds that a trial's own clock should show while all trials at once run."""
        work = self.steps * self.step_seconds
        work += self.evaluations.per_trial * self.evaluations.seconds
        slowdown = self.max_concurrent_trials / self.gain
        return self.factors.trial * (self.load_seconds + work * slowdown)

    @property
    def trial_seconds(self) -> float:
        """Seconds of a trial, from asked for to told."""
        return self.inside_seconds + self.overheads.trial_seconds

    @property
    def full_seconds(self) -> float:
        """Seconds of the full run and its report."""
        work = self.steps * self.step_seconds
        work += self.evaluations.per_full_run * self.evaluations.seconds
        inside = self.factors.trial * self.factors.full * (self.load_seconds + work)
        rest = self.overheads.trial_seconds + self.overheads.ending_seconds
        return inside + rest + self.saving_seconds

    def measured(self, inside_seconds: float, overhead_seconds: float) -> Costs:
        """These costs once trials have shown what they take, seconds."""
        # The present factor is taken out first, or every measurement would multiply the one before.
        factor = inside_seconds / (self.inside_seconds / self.factors.trial)
        overheads = replace(self.overheads, trial_seconds=overhead_seconds)
        return replace(self, factors=replace(self.factors, trial=factor), overheads=overheads)

    def started(self, startup_seconds: float) -> Costs:
        """These costs once the first trial has shown when it began to load, seconds."""
        return replace(self, overheads=replace(self.overheads, startup_seconds=startup_seconds))

    def full_run_took(self, seconds: float) -> Costs:
        """These costs once a full run of the same steps has taken ``seconds``."""
        fixed = self.overheads.trial_seconds + self.overheads.ending_seconds + self.saving_seconds
        predicted = (self.full_seconds - fixed) / self.factors.full
        factor = max(LEAST_FULL_SECONDS, seconds - fixed) / predicted
        return replace(self, factors=replace(self.factors, full=factor))

    def pairs_seconds(self, pairs: int) -> float:
        """Seconds of ``pairs`` pairs: each round is judged before the next one begins."""
        return rounds(pairs, max(1, self.max_concurrent_trials // 2)) * self.round_seconds

    @property
    def round_seconds(self) -> float:
        """Seconds of one round of the confirmation."""
        trials = 2 * max(1, self.max_concurrent_trials // 2)
        return rounds(trials, self.max_concurrent_trials) * self.trial_seconds


def predicted_costs(plan: Plan, *, max_concurrent_trials: int, gain: float) -> Costs:
    """Costs of a search whose trials train as ``plan`` does, as the plan predicts.

    ``gain`` is of all trials at once over one trial alone; the plan's prediction has what probes
    taught.
    """
    time = plan.time
    epochs = epochs_of(plan.learning, time.steps_per_epoch)
    full = 1 + evaluations(plan.learning, time.steps_per_epoch)  # one before the first step
    training_seconds = time.total_seconds - time.evaluation_seconds - time.saving_seconds
    return Costs(
        load_seconds=load_seconds(plan),
        step_seconds=training_seconds / max(1, time.total_steps),
        steps=time.total_steps,
        evaluations=Evaluations(
            seconds=time.evaluation_seconds / full,
            per_trial=1 + math.ceil(max(1, round(EVALUATIONS / epochs)) * epochs),
            per_full_run=full,
        ),
        max_concurrent_trials=max_concurrent_trials,
        gain=gain,
        saving_seconds=time.saving_seconds,
    )


def load_seconds(plan: Plan) -> float:
    """Seconds until a worker has loaded the base."""
    weight_bytes = plan.model.parameters_total * WEIGHT_BYTES if plan.model.has_weights else 0
    return LEAST_LOAD_SECONDS + weight_bytes / READ_BYTES_PER_SECOND


def rounds(count: int, at_once: int) -> int:
    """Rounds of ``at_once`` trials that ``count`` trials take."""
    return math.ceil(count / at_once)
