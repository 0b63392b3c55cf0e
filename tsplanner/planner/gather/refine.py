"""Corrections of a candidate by earlier probes of its kind on this machine: bytes and seconds.

A factor counts for what it was measured on. Bytes: the same model, method, base, kernels, sharding
and kind of checkpoints, at about as many tokens. Seconds: the same but for the loss kernel and the
checkpoints, at about the same length. Another kind may be off by another factor, and a factor below
one would tighten a bound that was never tried.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from memory_models.calibration import Calibration
from memory_models.frozen import frozen
from memory_models.settings import BatchLayout, LossKernel
from tsplanner.planner.gather.probe_points import (
    ProbedKind,
    ProbePoint,
    kind_of,
    shapes_digest,
)
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.throughput.rates import Efficiency

NEWEST = 20
"""Newest points that are used."""
PROBED_ERROR = 0.15
"""Half-width of the 95 % interval of step time after a probe, assumed until measured."""
WITHIN = 2.0
"""A length or a number of tokens counts as that of a probe from half to twice of it, assumed."""


@frozen
class Refined:
    """Calibration and efficiency as corrected by the probes of one kind."""

    calibration: Calibration
    efficiency: Efficiency
    kinds: frozenset[bool] = frozenset()
    """Kinds of steps that were measured; True: steps that wait for the host."""
    compiled: bool = False
    """Whether a probe has left the kernels that Triton compiles on this machine."""

    def relative_error(self, *, bound_by_launch: bool, otherwise: float) -> float:
        """Half-width of the 95 % interval of a step's seconds; ``otherwise``: without a probe."""
        return PROBED_ERROR if bound_by_launch in self.kinds else otherwise


def refined_for(request: PlanRequest, hardware: HardwareSettings) -> Refined:
    """What the request's earlier probes say of one candidate; the request's own where nothing."""
    plain = Refined(calibration=request.calibration, efficiency=request.efficiency)
    if not request.probes:
        return plain
    digest = request.probes[-1].kind.architecture  # all of them are of the request's model
    kind = kind_of(digest, request.machine, request.learning, hardware)
    length = request.dataset.longest_of(hardware.batch)
    plain = replace(plain, compiled=_compiled(request, kind))
    return refined(request.probes, kind, hardware.batch, length, plain)


def _compiled(request: PlanRequest, kind: ProbedKind) -> bool:
    """Whether a probe on this machine ran Triton's kernels of this kind, at whatever length."""
    wanted = (request.machine.name, kind.base, kind.kernels.decoder_kernels)
    return any(
        (point.host_name, point.kind.base, point.kind.kernels.decoder_kernels) == wanted
        for point in request.probes
    )


def points_of(request: PlanRequest, points: Iterable[ProbePoint]) -> tuple[ProbePoint, ...]:
    """The newest points of the request's model and method."""
    digest = shapes_digest(request.architecture)
    wanted = (digest, request.learning.method.finetuning_type)
    same = [
        point for point in points if (point.kind.architecture, point.kind.finetuning_type) == wanted
    ]
    return tuple(same[-NEWEST:])


def refined(
    points: Iterable[ProbePoint],
    kind: ProbedKind,
    batch: BatchLayout,
    sequence_length: int,
    plain: Refined,
) -> Refined:
    """``plain`` times the medians of measured over predicted values of the points of this kind.

    Steps that wait for the host and steps that wait for the GPU have separate factors.
    """
    timed = [
        point
        for point in points
        # Packed rows have another attention, and a probe of them is one row as long as a pass.
        if point.batch.is_packed == batch.is_packed and _same_step(point, kind, sequence_length)
    ]
    sized = [point for point in timed if _same_bytes(point, kind, batch, sequence_length)]
    calibration, efficiency = plain.calibration, plain.efficiency
    if bytes_over := [point.memory_factor for point in sized if point.memory_factor]:
        factor = _median(bytes_over)
        calibration = replace(
            calibration,
            device_factor=calibration.device_factor * factor,
            notes=(*calibration.notes, f"bytes x {factor:.2f}: {_note(len(bytes_over))}"),
        )
    work, launch = (seconds_over(timed, bound_by_launch=which) for which in (False, True))
    if work or launch:
        efficiency = replace(
            efficiency,
            work_factor=efficiency.work_factor * _median(work or [1.0]),
            launch_factor=efficiency.launch_factor * _median(launch or [1.0]),
            basis=_note(len(work) + len(launch)),
        )
    return Refined(
        calibration=calibration,
        efficiency=efficiency,
        kinds=frozenset(which for which, found in ((False, work), (True, launch)) if found),
        compiled=plain.compiled,
    )


def _note(probes: int) -> str:
    return f"corrected by {probes} probe{'s' if probes > 1 else ''} on this machine"


def _median(values: list[float]) -> float:
    import statistics  # slow to import, and most plans have no points

    return statistics.median(values)


def _same_step(point: ProbePoint, kind: ProbedKind, sequence_length: int) -> bool:
    """Whether a point's seconds count for steps of this kind and length."""
    return _near(point.sequence_length, sequence_length) and _any_loss(point.kind) == _any_loss(
        kind
    )


def _any_loss(kind: ProbedKind) -> ProbedKind:
    return replace(kind, kernels=replace(kind.kernels, loss_kernel=LossKernel.PLAIN))


def _same_bytes(
    point: ProbePoint, kind: ProbedKind, batch: BatchLayout, sequence_length: int
) -> bool:
    """Whether a point's bytes count for this kind, these checkpoints and so many tokens."""
    tokens = point.batch.micro_batch_size * point.sequence_length
    return (
        point.kind == kind
        and _checkpoints(point.batch) == _checkpoints(batch)
        and _near(tokens, batch.micro_batch_size * sequence_length)
    )


def _checkpoints(batch: BatchLayout) -> tuple[bool, bool]:
    """None, some or all layers: whether there are any, and whether a number of them was given."""
    return batch.gradient_checkpointing, batch.checkpointed_layers is not None


def _near(one: int, other: int) -> bool:
    return max(one, other) <= WITHIN * min(one, other)


def seconds_over(points: Iterable[ProbePoint], *, bound_by_launch: bool) -> list[float]:
    """Measured over predicted seconds of the steps that wait for the host, or for the GPU."""
    return [
        point.time_factor
        for point in points
        if point.bound_by_launch is bound_by_launch and point.time_factor
    ]
