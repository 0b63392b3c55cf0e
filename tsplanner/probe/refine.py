"""Earlier probes on this machine correct the next plan: one factor for bytes, one for seconds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import replace

from memory_models.calibration import Calibration
from memory_models.settings import FinetuningType
from tsplanner.probe.calibration import ProbePoint
from tsplanner.throughput.rates import Efficiency

NEWEST = 20
"""Older points are of older drivers and libraries."""
PROBED_ERROR = 0.15
"""Half-width of the 95 % interval of step time after a probe, assumed until measured."""


def refined(
    points: Iterable[ProbePoint],
    method: FinetuningType,
    calibration: Calibration,
    efficiency: Efficiency,
) -> tuple[Calibration, Efficiency]:
    """Calibration and efficiency with the medians of measured over predicted.

    Points of the same method count if there are any, else all of this device. Predictions in a
    point are those of the plain model, without the factors of earlier probes.
    """
    newest = list(points)[-NEWEST:]
    chosen = [point for point in newest if point.finetuning_type is method] or newest
    bytes_over = [
        point.measured_process_bytes / point.predicted_process_bytes
        for point in chosen
        if point.measured_process_bytes and point.predicted_process_bytes
    ]
    seconds_over = [
        point.measured_step_seconds / point.predicted_step_seconds
        for point in chosen
        if point.measured_step_seconds and point.predicted_step_seconds
    ]
    if bytes_over:
        note = f"corrected by {len(bytes_over)} probes on this machine"
        calibration = replace(
            calibration,
            device_factor=statistics.median(bytes_over),
            notes=(*calibration.notes, note),
        )
    if seconds_over:
        efficiency = replace(
            efficiency,
            time_factor=statistics.median(seconds_over),
            relative_error=PROBED_ERROR,
            basis=f"corrected by {len(seconds_over)} probes on this machine",
        )
    return calibration, efficiency
