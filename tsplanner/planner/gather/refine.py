"""Corrections of a plan by earlier probes on this machine: one for bytes, two for seconds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import replace

from memory_models.calibration import Calibration
from tsplanner.planner.gather.probe_points import PlanFeatures, ProbePoint
from tsplanner.throughput.rates import Efficiency

NEWEST = 20
"""Newest points that are used; older ones come from older drivers and libraries."""
PROBED_ERROR = 0.15
"""Half-width of the 95 % interval of step time after a probe, assumed until measured."""
SHARED_FEATURES = (
    ("model", "finetuning_type", "quantization"),
    ("finetuning_type", "quantization"),
    ("finetuning_type",),
)
"""Features that a point should share with a plan, the best set first."""


def refined(
    points: Iterable[ProbePoint],
    features: PlanFeatures,
    calibration: Calibration,
    efficiency: Efficiency,
) -> tuple[Calibration, Efficiency]:
    """Calibration and efficiency with the medians of measured over predicted values.

    The points that are most similar to the plan are used, or all points of this device if none is
    similar. Steps that wait for the host and steps that wait for the GPU have separate factors.
    """
    chosen = most_similar(list(points)[-NEWEST:], features)
    note = f"corrected by {len(chosen)} probes on this machine"
    bytes_over = [
        point.measured.process_bytes / point.predicted.process_bytes
        for point in chosen
        if point.measured.process_bytes and point.predicted.process_bytes
    ]
    if bytes_over:
        calibration = replace(
            calibration,
            device_factor=statistics.median(bytes_over),
            notes=(*calibration.notes, note),
        )
    work, launch = (seconds_over(chosen, bound_by_launch=which) for which in (False, True))
    if work or launch:
        efficiency = replace(
            efficiency,
            work_factor=statistics.median(work) if work else efficiency.work_factor,
            launch_factor=statistics.median(launch) if launch else efficiency.launch_factor,
            relative_error=PROBED_ERROR,
            basis=note,
        )
    return calibration, efficiency


def most_similar(points: list[ProbePoint], features: PlanFeatures) -> list[ProbePoint]:
    """The points that share the most features with a plan; all points if none shares any.

    Points of its model, method and base come first, then points of its method and base, then points
    of its method.
    """
    for keys in SHARED_FEATURES:
        wanted = [getattr(features, key) for key in keys]
        found = [
            point for point in points if [getattr(point.features, key) for key in keys] == wanted
        ]
        if found:
            return found
    return points


def seconds_over(points: Iterable[ProbePoint], *, bound_by_launch: bool) -> list[float]:
    """Measured over predicted seconds of the steps that wait for the host, or for the GPU."""
    return [
        point.measured.step_seconds / point.predicted.step_seconds
        for point in points
        if point.bound_by_launch is bound_by_launch
        and point.measured.step_seconds
        and point.predicted.step_seconds
    ]
