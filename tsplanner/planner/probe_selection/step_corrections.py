"""Corrections of the step times of all candidates, from the probes of some. Pure.

Two medians of measured over predicted time correct every prediction: one of steps that wait for
the GPU, one of steps that wait for the host. The residuals that remain are similar among
neighbours: a candidate takes the residual of the nearest measured candidate, and its error grows
with the square root of the distance, as that of a random walk does.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import StrEnum

from memory_models.frozen import frozen
from memory_models.settings import BatchLayout, flat
from tsplanner.planner.evaluate import Evaluated, rates_for
from tsplanner.planner.packing import probed_settings
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.throughput.own_factor import own_factor
from tsplanner.throughput.step_parts import StepTime
from tsplanner.throughput.step_time import step_time

PRIOR_ERROR = 0.35
"""Half-width of the 95 % interval that a kind of step has before one of it was probed, as a share.
It only decides what is probed next."""
NEIGHBOUR_SHARE = 0.15
"""Standard deviation between neighbours over the rates' 95 % error, assumed: 5 over 35 %."""
NEIGHBOUR_WEIGHT = 2
"""Number of measured differences that the assumption above counts for."""
LOSS_KERNEL_DISTANCE = 0.5
"""Distance of two loss kernels; a doubled micro-batch is at distance 1."""
CHECKPOINTING_DISTANCE = 1.0
"""Distance of checkpoints on all layers from none."""
SOME_LAYERS_SHARE = 0.5
"""Share of that distance from some checkpointed layers to all or none."""
LAYER_NUMBERS_SHARE = 0.25
"""Share of that distance between two numbers of layers, which are usually close to each other."""
OTHER_DISTANCE = 2.0
"""Distance for every other setting that differs: GPUs, sharding, kernels, precision."""
# The accumulation follows from the micro-batch at a fixed effective batch, so it adds no distance.
BATCH_FIELDS = frozenset(
    {
        "micro_batch_size",
        "token_budget",
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


@frozen
class Measured:
    """A probe's result. Bytes are per process (of the host: per machine); None: not known."""

    outcome: Outcome
    step_seconds: float | None = None
    """Seconds of the probed step, which is that of the longest batch."""
    process_bytes: int | None = None
    host_bytes: int | None = None


Measurements = Mapping[HardwareSettings, Measured]


@frozen
class StepFactors:
    """Measured over predicted values, and the residuals that remain."""

    work: float
    """Median factor of steps that wait for the GPU."""
    launch: float
    """Median factor of steps that wait for the host."""
    process_bytes: float
    """Median factor of process bytes."""
    kinds: frozenset[bool]
    """Kinds of steps that were measured; True: steps that wait for the host."""
    residuals: tuple[tuple[HardwareSettings, float], ...]
    """Logarithm of measured over corrected seconds, for every measured candidate."""
    deviation: float
    """Standard deviation between the residuals of two candidates at distance 1."""
    error: float
    """Half-width of the 95 % interval for kinds of steps that were not measured, as a share."""

    def seconds(self, hardware: HardwareSettings, time: StepTime) -> StepTime:
        """The corrected prediction of a candidate's step."""
        near = math.exp(self._nearest(hardware)[1])
        return scaled(time, self.work * near, self.launch * near)

    def margin(self, hardware: HardwareSettings, time: StepTime) -> float:
        """Half-width of the 95 % interval of the corrected prediction, as a share."""
        if time.bound_by_launch not in self.kinds:
            return self.error
        return min(self.error, 2 * self.deviation * math.sqrt(self._nearest(hardware)[0]))

    def _nearest(self, hardware: HardwareSettings) -> tuple[float, float]:
        return nearest(hardware, self.residuals)


def nearest(
    hardware: HardwareSettings, residuals: Iterable[tuple[HardwareSettings, float]]
) -> tuple[float, float]:
    """Distance to the nearest measured candidate, and the mean residual of all at that distance."""
    near = [(distance(hardware, other), residual) for other, residual in residuals]
    if not near:
        return math.inf, 0.0
    least = min(near)[0]
    return least, statistics.fmean(residual for far, residual in near if far == least)


def distance(one: HardwareSettings, other: HardwareSettings) -> float:
    """Distance of two candidates: how their rows are laid out, and the settings that differ."""
    mine, theirs = flat(one), flat(other)
    others: int = sum(mine[name] != theirs[name] for name in mine if name not in BATCH_FIELDS)
    return (
        _layout_distance(one.batch, other.batch)
        + CHECKPOINTING_DISTANCE * _checkpoint_share(one, other)
        + LOSS_KERNEL_DISTANCE * (one.kernels.loss_kernel != other.kernels.loss_kernel)
        + OTHER_DISTANCE * others
    )


def _checkpoint_share(one: HardwareSettings, other: HardwareSettings) -> float:
    """The checkpoints of two candidates, as a share of the distance from all layers to none."""
    if one.batch.checkpointed_layers and other.batch.checkpointed_layers:
        return LAYER_NUMBERS_SHARE * (
            one.batch.checkpointed_layers != other.batch.checkpointed_layers
        )
    if one.batch.checkpointed_layers or other.batch.checkpointed_layers:
        return SOME_LAYERS_SHARE
    return float(one.batch.gradient_checkpointing != other.batch.gradient_checkpointing)


def corrections_of(
    request: PlanRequest, evaluated: Iterable[Evaluated], measured: Measurements
) -> StepFactors:
    """The corrections from the measurements of this search; without any, nothing is corrected."""
    ran = [found for found in evaluated if _seen(found, measured) is not None]
    ratios: dict[bool, list[float]] = {False: [], True: []}
    timed: list[tuple[HardwareSettings, float, StepTime]] = []
    for found in ran:
        seconds = measured[found.hardware].step_seconds
        # A probe runs the longest batch, while ``found.time`` is that of the mean one.
        predicted = probed_time(request, found.hardware)
        if seconds:
            timed.append((found.hardware, seconds, predicted))
            ratios[predicted.bound_by_launch].append(own_factor(predicted, seconds))
    work, launch = (statistics.median(ratios[kind] or [1.0]) for kind in (False, True))
    residuals = [
        (hardware, math.log(seconds / scaled(predicted, work, launch).seconds))
        for hardware, seconds, predicted in timed
    ]
    error = PRIOR_ERROR
    return StepFactors(
        work=work,
        launch=launch,
        process_bytes=statistics.median([_bytes_ratio(each, measured) for each in ran] or [1.0]),
        kinds=frozenset(kind for kind, found in ratios.items() if found),
        residuals=tuple(residuals),
        deviation=_deviation(residuals, error),
        error=error,
    )


def _seen(found: Evaluated, measured: Measurements) -> Measured | None:
    """The measurement of a candidate that ran; None: it was not probed, or did not run."""
    seen = measured.get(found.hardware)
    return seen if seen is not None and seen.outcome is Outcome.OK else None


def _bytes_ratio(found: Evaluated, measured: Measurements) -> float:
    predicted = found.memory.process_bytes.expected
    return (measured[found.hardware].process_bytes or predicted) / predicted


def _deviation(residuals: list[tuple[HardwareSettings, float]], error: float) -> float:
    """How much neighbours differ: the assumed deviation, mixed with the measured differences.

    The variance of a random walk grows with the distance, so squares are taken per unit of it.
    """
    squares = NEIGHBOUR_WEIGHT * (NEIGHBOUR_SHARE * error) ** 2
    pairs = 0
    for hardware, residual in residuals:
        far, near = nearest(hardware, [each for each in residuals if each[0] != hardware])
        if math.isfinite(far):
            squares += (residual - near) ** 2 / far
            pairs += 1
    return math.sqrt(squares / (NEIGHBOUR_WEIGHT + pairs))


def _layout_distance(one: BatchLayout, other: BatchLayout) -> float:
    """Doublings of the micro-batch or of the token budget; packed rows are far from padded ones."""
    if one.is_packed != other.is_packed:
        return OTHER_DISTANCE
    mine = one.token_budget or one.micro_batch_size
    theirs = other.token_budget or other.micro_batch_size
    return abs(math.log2(mine / theirs))


def probed_time(request: PlanRequest, hardware: HardwareSettings) -> StepTime:
    """Predicted seconds of the step that a probe runs, which is that of the longest batch."""
    length = request.dataset.longest_of(hardware.batch)
    settings = probed_settings(request.learning, hardware, request.dataset.lengths, length)
    return step_time(request.architecture, settings, rates_for(request, hardware))


def time_ratio(request: PlanRequest, hardware: HardwareSettings, seen: Measured) -> float | None:
    """By what a candidate's probed step corrects its work and issuing; None: no step was timed."""
    if not seen.step_seconds:
        return None
    return own_factor(probed_time(request, hardware), seen.step_seconds)


def scaled(time: StepTime, work: float, launch: float) -> StepTime:
    """The step's seconds with the GPU's work and the host's launches multiplied by factors.

    Parts that overlap with neither take the factor of the kind of step, and a link that layers are
    streamed over takes none. A CPU issues its own work, so all of its parts take the factor of the
    work.
    """
    launch = launch if time.overlaps else work
    rest = launch if time.bound_by_launch else work
    return replace(
        time,
        matrix=time.matrix * work,
        memory=time.memory * work,
        launch=time.launch * launch,
        recorded=time.recorded * launch,
        optimizer=time.optimizer * rest,
        communication=time.communication * rest,
        offload=time.offload * rest,
    )
