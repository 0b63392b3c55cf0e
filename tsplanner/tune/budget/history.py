"""What earlier searches on this machine took: a file of lines that the next search reads."""

from __future__ import annotations

import contextlib
import statistics
import time
from dataclasses import replace
from pathlib import Path

import msgspec

from memory_models.frozen import frozen
from tsplanner import runs
from tsplanner.planner.gather.probe_points import device_name
from tsplanner.planner.plan import Plan
from tsplanner.settings import state_parts
from tsplanner.tune.budget.costs import Costs, TimeFactors, predicted_costs

REMEMBERED = 3
"""Number of searches of the same kind whose times are taken together."""
EARLIER_FIELDS = {"places": "max_concurrent_trials"}
"""Fields as an earlier version wrote them into the file."""


@frozen
class SearchKind:
    """Searches whose times can be compared."""

    device_name: str
    host_name: str
    model: str
    finetuning_type: str
    quantization: str | None
    max_concurrent_trials: int


@frozen
class SearchTimes:
    """What one search took against its prediction; a line of the file."""

    kind: SearchKind
    trial_factor: float
    full_factor: float
    startup_seconds: float
    overhead_seconds: float
    unix_time: float = 0.0


def kind_of(plan: Plan, max_concurrent_trials: int) -> SearchKind:
    """The kind of a search whose trials train as ``plan`` does."""
    quantization = plan.hardware.base.quantization
    return SearchKind(
        device_name=device_name(plan.machine, plan.hardware),
        host_name=plan.machine.name,
        model=plan.model.name,
        finetuning_type=str(plan.learning.method.finetuning_type),
        quantization=None if quantization is None else str(quantization),
        max_concurrent_trials=max_concurrent_trials,
    )


def history_path() -> Path:
    """The file with the times of searches on this machine."""
    return state_parts()["search times"]


def read_history() -> list[SearchTimes]:
    """Times of earlier searches, oldest first; a line that cannot be read is passed over."""
    found = []
    for row in runs.read_json_lines(history_path()):
        # A line of the file is flat, while the record holds the kind as a part of its own.
        fields = {EARLIER_FIELDS.get(key, key): value for key, value in row.items()}
        with contextlib.suppress(msgspec.ValidationError):
            found.append(msgspec.convert(fields | {"kind": fields}, SearchTimes))
    return found


def append_history(plan: Plan, costs: Costs, full_seconds: float | None) -> None:
    """Keep what a search took; ``full_seconds`` is its full run's, None if it is not comparable."""
    if full_seconds is not None:
        costs = costs.full_run_took(full_seconds)
    times = SearchTimes(
        kind=kind_of(plan, costs.max_concurrent_trials),
        trial_factor=costs.factors.trial,
        full_factor=costs.factors.full,
        startup_seconds=costs.startup_seconds,
        overhead_seconds=costs.overheads.trial_seconds,
        unix_time=time.time(),
    )
    fields = msgspec.to_builtins(times)
    line = msgspec.json.encode(fields.pop("kind") | fields).decode()
    with contextlib.suppress(OSError):  # a search must not fail for it
        runs.append_line(history_path(), line)


def expected_costs(plan: Plan, *, max_concurrent_trials: int, gain: float) -> tuple[Costs, bool]:
    """Costs of a search, and whether earlier searches here taught them.

    ``gain`` is of all trials at once over one trial alone.
    """
    costs = predicted_costs(plan, max_concurrent_trials=max_concurrent_trials, gain=gain)
    kind = kind_of(plan, max_concurrent_trials)
    known = [one for one in read_history() if one.kind == kind][-REMEMBERED:]
    if not known:
        return costs, False
    overheads = replace(
        costs.overheads,
        startup_seconds=statistics.median(one.startup_seconds for one in known),
        trial_seconds=statistics.median(one.overhead_seconds for one in known),
    )
    factors = TimeFactors(
        trial=statistics.median(one.trial_factor for one in known),
        full=statistics.median(one.full_factor for one in known),
    )
    return replace(costs, overheads=overheads, factors=factors), True
