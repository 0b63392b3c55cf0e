"""``tune --budget``: what the parts of a search take on this machine, and the words about it."""

from __future__ import annotations

import argparse
import contextlib
import math
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from tsplanner import runs
from tsplanner.errors import TsplannerError
from tsplanner.planner.forecast import EVALUATIONS_PER_EPOCH
from tsplanner.planner.plan import Plan
from tsplanner.probe.calibration import device_name
from tsplanner.settings import state_folder
from tsplanner.tune.budget.controller import Clock
from tsplanner.tune.budget.schedule import MOST_TRIALS, Costs, Schedule, least_seconds
from tsplanner.tune.runner.monitor import EVALUATIONS

SPAN = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")
STARTUP_SECONDS, OVERHEAD_SECONDS, ENDING_SECONDS = 8.0, 0.7, 1.0
"""Until this machine has shown its own: imports, what a trial's own clock does not see, report."""
READ_BYTES_A_SECOND = 1e9
"""Load of a base from a warm disk; small beside a trial."""
LEAST_LOAD_SECONDS = 1.0
REMEMBERED = 3
"""Searches of the same kind whose times are taken together."""


def budget_span(text: str) -> float:
    """Seconds from ``3h``, ``90m``, ``1h30m`` or ``5400s``; a unit is needed."""
    words = text.strip().lower().replace(" ", "")
    found = SPAN.fullmatch(words)
    if words.replace(".", "", 1).isdigit():
        raise argparse.ArgumentTypeError(f"{text} of what? Write {text}s, {text}m or {text}h")
    parts = [float(part or 0) for part in found.groups()] if found else [0.0]
    seconds = sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    if not words or seconds <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no span of time: write 3h, 90m or 1h30m")
    return seconds


def span_words(seconds: float) -> str:
    """``2 h 48 min``, ``12 min 30 s``, ``40 s``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    minutes = round(seconds / 60)
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedTimes:
    """What one search took against its forecast; a line in <state>/tune_times.jsonl."""

    device_name: str
    host_name: str
    model: str
    finetuning_type: str
    quantization: str | None
    places: int
    trial_factor: float
    full_factor: float
    startup_seconds: float
    overhead_seconds: float
    unix_time: float = 0.0

    @property
    def kind(self) -> tuple[object, ...]:
        """Of which searches it tells."""
        return (
            self.device_name,
            self.host_name,
            self.model,
            self.finetuning_type,
            self.quantization,
            self.places,
        )


def costs_of(plan: Plan, *, places: int, gain: float) -> tuple[Costs, bool]:
    """Costs of a search whose trials train as ``plan`` does; whether searches here taught them.

    ``gain`` of all ``places`` over one trial alone; the plan's forecast has what probes taught.
    """
    learning, forecast = plan.learning, plan.time
    epochs = learning.optimization.num_train_epochs
    full = EVALUATIONS_PER_EPOCH * epochs + 1  # one before the first step
    weights = plan.model.parameters_total * 2
    load = LEAST_LOAD_SECONDS + (weights / READ_BYTES_A_SECOND if plan.model.has_weights else 0.0)
    costs = Costs(
        startup_seconds=STARTUP_SECONDS,
        load_seconds=load,
        step_seconds=(forecast.total_seconds - forecast.evaluation_seconds)
        / max(1, forecast.total_steps),
        steps=forecast.total_steps,
        evaluation_seconds=forecast.evaluation_seconds / full,
        trial_evaluations=1 + max(1, round(EVALUATIONS / epochs)) * epochs,
        full_evaluations=full,
        overhead_seconds=OVERHEAD_SECONDS,
        ending_seconds=ENDING_SECONDS,
        places=places,
        gain=gain,
    )
    kind = times_of(plan, costs, 0.0).kind
    known = [one for one in remembered() if one.kind == kind][-REMEMBERED:]
    if not known:
        return costs, False
    taught = {
        name: statistics.median(getattr(one, name) for one in known)
        for name in ("trial_factor", "full_factor", "startup_seconds", "overhead_seconds")
    }
    return replace(costs, **taught), True


def times_of(plan: Plan, costs: Costs, startup_seconds: float) -> TunedTimes:
    """What a search showed."""
    quantization = plan.hardware.base.quantization
    return TunedTimes(
        device_name=device_name(plan.machine, plan.hardware.accelerator),
        host_name=plan.machine.name,
        model=plan.model.name,
        finetuning_type=str(plan.learning.method.finetuning_type),
        quantization=None if quantization is None else str(quantization),
        places=costs.places,
        trial_factor=costs.trial_factor,
        full_factor=costs.full_factor,
        startup_seconds=startup_seconds,
        overhead_seconds=costs.overhead_seconds,
        unix_time=time.time(),
    )


def times_path() -> Path:
    """Where the times of searches on this machine lie."""
    return state_folder() / "tune_times.jsonl"


def remembered() -> list[TunedTimes]:
    """Times of earlier searches, oldest first; lines that cannot be read are passed over."""
    found = []
    for row in runs.read_json_lines(times_path()):
        with contextlib.suppress(msgspec.ValidationError):
            found.append(msgspec.convert(row, TunedTimes))
    return found


def remember(plan: Plan, clock: Clock, full_seconds: float | None) -> None:
    """Keep what a search took; ``full_seconds``: its full run's, None if it cannot be compared."""
    costs = clock.costs
    if clock.startup_seconds is None:
        return  # no trial finished, so nothing was learnt
    if full_seconds is not None:
        fixed = costs.overhead_seconds + costs.ending_seconds
        expected = (costs.full_seconds - fixed) / costs.full_factor
        costs = replace(costs, full_factor=max(0.1, full_seconds - fixed) / expected)
    line = msgspec.json.encode(times_of(plan, costs, clock.startup_seconds)).decode()
    with contextlib.suppress(OSError):  # a search must not fail for it
        runs.append_line(times_path(), line)


def start_clock(
    plan: Plan,
    budget_seconds: float,
    most_trials: int | None,
    *,
    places: int,
    gain: float,
    folder: Path,
    began: float,
    say: Callable[[str], None],
) -> Clock:
    """The clock of a search within a budget; ``plan`` is that of its default trial.

    ``say`` hears of a promise that the first trial renewed. Raises TsplannerError for a budget
    that has no room for the full run.
    """
    costs, taught = costs_of(plan, places=places, gain=gain)
    refuse_what_is_too_short(costs, budget_seconds)

    def told(planned: Schedule, costs: Costs) -> None:
        took = span_words(costs.trial_seconds)
        say(f"A trial takes {took}. {promise_words(planned, costs, budget_seconds)}.")

    return Clock(
        costs,
        budget_seconds,
        most_trials or MOST_TRIALS,
        trials_folder=folder,
        began=began,
        renew=not taught,
        told=told,
    )


def refuse_what_is_too_short(costs: Costs, seconds: float) -> None:
    """Raise TsplannerError for a budget that has no room for the full run."""
    least = least_seconds(costs)
    if least <= seconds:
        return
    raise TsplannerError(
        f"--budget {span_words(seconds)} is too short: training once takes about "
        f"{span_words(costs.full_seconds)} here, so give at least {math.ceil(least / 60)}m."
    )


def promise_words(planned: Schedule, costs: Costs, budget_seconds: float) -> str:
    """``3 h: 11 trials, 4 of them for the last word, 2 at once; full run 21 min; about …``."""
    if planned.searched:
        last = f", {2 * planned.pairs} of them for the last word" if planned.pairs else ""
        places = f", {costs.places} at once" if costs.places > 1 else ""
        what = f"{planned.trials} trials{last}{places}"
    else:
        what = "no room for trials beside the full run"
    return (
        f"{span_words(budget_seconds)}: {what}; full run {span_words(costs.full_seconds)}; about "
        f"{span_words(planned.seconds)} in all"
    )


def taken_words(clock: Clock) -> str:
    """What it took, of how much."""
    return (
        f"took {span_words(clock.took())} of {span_words(clock.budget)}, promised "
        f"{span_words(clock.promised)}"
    )


def budget_document(clock: Clock) -> dict[str, float]:
    """The budget as plain values, seconds."""
    return {
        "budget_seconds": clock.budget,
        "first_promised_seconds": clock.first_promise,
        "promised_seconds": clock.promised,
        "took_seconds": clock.took(),
    }
