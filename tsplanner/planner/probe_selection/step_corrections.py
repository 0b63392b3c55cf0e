"""What some probes say about the step times of all candidates. Pure.

Two medians of measured over predicted, of steps that wait for the GPU and of those that wait for
the host, correct every prediction. What they leave is alike among neighbours: a candidate takes
the residual of the nearest measured one, and its error grows with the root of the distance, as a
random walk's does.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from memory_models.settings import flat
from tsplanner.planner.devices import used_machine
from tsplanner.planner.evaluate import Evaluated
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings, training_settings
from tsplanner.throughput.rates import Rates, rates_of
from tsplanner.throughput.step_time import StepTime, step_time

STEP_SHARE = 0.15
"""Of the rates' 95 % error: by how much neighbours differ (one deviation), assumed: 5 % of 35 %."""
STEP_WEIGHT = 2
"""Measured differences that this assumption counts for."""
LOSS_KERNEL_DISTANCE = 0.5
CHECKPOINTING_DISTANCE = 1.0
"""As far as twice the micro-batch."""
SOME_APART = 0.25
"""Of it, two numbers of checkpointed layers: usually neighbours of the search."""
OTHER_DISTANCE = 2.0
"""Of every other setting: ranks, sharding, kernels, precision."""
BATCH_FIELDS = frozenset(
    {
        "micro_batch_size",
        "gradient_accumulation_steps",
        "gradient_checkpointing",
        "checkpointed_layers",
        "loss_kernel",
    }
)


class Outcome(StrEnum):
    """How a probe ended."""

    OK = "ok"
    OOM = "out of memory"
    HOST_OOM = "out of host memory"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a probe says of a candidate. Bytes are per rank (host: per machine), None unknown."""

    outcome: Outcome
    step_seconds: float | None = None
    """Of the step that was probed: the longest batch."""
    process_bytes: int | None = None
    host_bytes: int | None = None


Measurements = Mapping[HardwareSettings, Measured]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFactors:
    """What was measured over what was predicted."""

    work: float
    """Median factor of steps that wait for the GPU."""
    launch: float
    """Of steps that wait for the host."""
    process_bytes: float
    """Of bytes."""
    kinds: frozenset[bool]
    """Kinds of steps that were measured: whether they wait for the host."""
    residuals: tuple[tuple[HardwareSettings, float], ...]
    """Logarithms of what the medians leave, by measured candidate."""
    step: float
    """Deviation of the residuals of two candidates at distance 1."""
    error: float
    """Half-width of the 95 % interval of a step of a kind that was not measured, as a share."""

    def seconds(self, hardware: HardwareSettings, time: StepTime) -> StepTime:
        """The corrected prediction of a candidate's step."""
        near = math.exp(self._nearest(hardware)[1])
        return scaled(time, self.work * near, self.launch * near)

    def margin(self, hardware: HardwareSettings, time: StepTime) -> float:
        """Half-width of the 95 % interval of that, as a share."""
        if time.bound_by_launch not in self.kinds:
            return self.error
        return min(self.error, 2 * self.step * math.sqrt(self._nearest(hardware)[0]))

    def _nearest(self, hardware: HardwareSettings) -> tuple[float, float]:
        return nearest(hardware, self.residuals)


def nearest(
    hardware: HardwareSettings, residuals: Iterable[tuple[HardwareSettings, float]]
) -> tuple[float, float]:
    """Distance to the nearest of these, and its residual: the mean of those as near as it."""
    near = [(distance(hardware, other), residual) for other, residual in residuals]
    if not near:
        return math.inf, 0.0
    least = min(near)[0]
    return least, statistics.fmean(residual for far, residual in near if far == least)


def distance(one: HardwareSettings, other: HardwareSettings) -> float:
    """How far two candidates are apart: doublings of the micro-batch, and what else differs."""
    mine, theirs = flat(one), flat(other)
    others: int = sum(mine[name] != theirs[name] for name in mine if name not in BATCH_FIELDS)
    doublings: float = abs(math.log2(one.batch.micro_batch_size / other.batch.micro_batch_size))
    return (
        doublings
        + CHECKPOINTING_DISTANCE * _apart(one, other)
        + LOSS_KERNEL_DISTANCE * (one.kernels.loss_kernel != other.kernels.loss_kernel)
        + OTHER_DISTANCE * others
    )


def _apart(one: HardwareSettings, other: HardwareSettings) -> float:
    """By which share of the layers checkpoints differ: some are taken to be half of them."""
    if one.batch.checkpointed_layers and other.batch.checkpointed_layers:
        return SOME_APART * (one.batch.checkpointed_layers != other.batch.checkpointed_layers)
    if one.batch.checkpointed_layers or other.batch.checkpointed_layers:
        return 0.5
    return float(one.batch.gradient_checkpointing != other.batch.gradient_checkpointing)


def corrections_of(
    request: PlanRequest, evaluated: Iterable[Evaluated], measured: Measurements
) -> StepFactors:
    """What the measurements of this search say; without any, nothing is corrected."""
    ran = [found for found in evaluated if _seen(found, measured) is not None]
    ratios: dict[bool, list[float]] = {False: [], True: []}
    timed: list[tuple[HardwareSettings, float, StepTime]] = []
    for found in ran:
        seconds = measured[found.hardware].step_seconds
        predicted = probed_time(request, found.hardware)
        if seconds:
            timed.append((found.hardware, seconds, predicted))
            ratios[predicted.bound_by_launch].append(seconds / predicted.seconds)
    work, launch = (statistics.median(ratios[kind] or [1.0]) for kind in (False, True))
    residuals = [
        (hardware, math.log(seconds / scaled(predicted, work, launch).seconds))
        for hardware, seconds, predicted in timed
    ]
    error = rates_for(request, HardwareSettings()).relative_error
    return StepFactors(
        work=work,
        launch=launch,
        process_bytes=statistics.median([_bytes_ratio(each, measured) for each in ran] or [1.0]),
        kinds=frozenset(kind for kind, found in ratios.items() if found),
        residuals=tuple(residuals),
        step=_step(residuals, error),
        error=error,
    )


def _seen(found: Evaluated, measured: Measurements) -> Measured | None:
    """What a candidate that ran did."""
    seen = measured.get(found.hardware)
    return seen if seen is not None and seen.outcome is Outcome.OK else None


def _bytes_ratio(found: Evaluated, measured: Measurements) -> float:
    predicted = found.memory.process_bytes.expected
    return (measured[found.hardware].process_bytes or predicted) / predicted


def _step(residuals: list[tuple[HardwareSettings, float]], error: float) -> float:
    """How much neighbours differ: each measured candidate from its nearest, the assumed mixed in.

    The variance of a random walk grows with the distance, so squares are taken a unit of it.
    """
    squares = STEP_WEIGHT * (STEP_SHARE * error) ** 2
    pairs = 0
    for hardware, residual in residuals:
        far, near = nearest(hardware, [each for each in residuals if each[0] != hardware])
        if math.isfinite(far):
            squares += (residual - near) ** 2 / far
            pairs += 1
    return math.sqrt(squares / (STEP_WEIGHT + pairs))


def probed_time(request: PlanRequest, hardware: HardwareSettings) -> StepTime:
    """Predicted seconds of the step that a probe runs: the longest batch."""
    length = request.dataset.sequence_length(hardware.batch.micro_batch_size)
    settings = training_settings(request.learning, hardware, length)
    return step_time(request.architecture, settings, rates_for(request, hardware))


def rates_for(request: PlanRequest, hardware: HardwareSettings) -> Rates:
    """Rates of the slowest of the GPUs used."""
    machine = used_machine(request.machine, hardware)
    return rates_of(machine, request.efficiency, on_cpu=request.on_cpu)


def time_ratio(request: PlanRequest, hardware: HardwareSettings, seen: Measured) -> float | None:
    """Measured over predicted seconds of a candidate's probed step; None if none was timed."""
    if not seen.step_seconds:
        return None
    return seen.step_seconds / probed_time(request, hardware).seconds


def scaled(time: StepTime, work: float, launch: float) -> StepTime:
    """Seconds with the GPU's work and the host's issuing multiplied.

    What overlaps with neither goes with the kind of step; a CPU issues its work itself.
    """
    launch = launch if time.overlaps else work
    rest = launch if time.bound_by_launch else work
    return replace(
        time,
        matrix=time.matrix * work,
        memory=time.memory * work,
        launch=time.launch * launch,
        optimizer=time.optimizer * rest,
        communication=time.communication * rest,
        offload=time.offload * rest,
    )
