"""Points that probes measured on this machine, kept from plan to plan.

Every probe is one JSON line in <state>/calibration.jsonl. A line is appended in one write, because
several probes may run at once, and so that a crash costs at most the last line.
"""

from __future__ import annotations

import contextlib
from dataclasses import field, fields
from pathlib import Path
from typing import Any

import msgspec

from memory_models.device import Machine
from memory_models.frozen import frozen
from memory_models.settings import FinetuningType, Quantization
from tsplanner import runs
from tsplanner.settings import calibration_file

CPU_DEVICE = "cpu"


@frozen
class ProbedSettings:
    """The settings of a probe that its cost depends on."""

    finetuning_type: FinetuningType
    quantization: Quantization | None
    zero_stage: int
    gradient_checkpointing: bool
    world_size: int
    micro_batch_size: int
    sequence_length: int


@frozen
class ProbeFigures:
    """Bytes per process, and seconds of the probed step; None: not known."""

    allocated_bytes: int | None = None
    reserved_bytes: int | None = None
    process_bytes: int | None = None
    step_seconds: float | None = None


@frozen
class PlanFeatures:
    """The features of a plan that its points are chosen by."""

    model: str
    finetuning_type: FinetuningType
    quantization: Quantization | None = None


@frozen
class ProbePoint:
    """One probe: predicted and measured figures of the same settings."""

    device_name: str
    """The GPU as the driver prints it, or ``cpu``."""
    host_name: str
    """Name of the machine."""
    model: str
    settings: ProbedSettings
    parameters_total: int
    parameters_trainable: int
    predicted: ProbeFigures
    """Figures without the factors of earlier probes."""
    measured: ProbeFigures
    bound_by_launch: bool = False
    """Whether the probed step waits for the host, by the prediction."""
    baseline_bytes: int | None = None
    """Resident bytes after the imports (CPU)."""
    versions: dict[str, str] = field(default_factory=dict)
    unix_time: float = 0.0

    @property
    def features(self) -> PlanFeatures:
        """The features that a plan is compared by."""
        return PlanFeatures(
            model=self.model,
            finetuning_type=self.settings.finetuning_type,
            quantization=self.settings.quantization,
        )

    @property
    def settings_class(self) -> tuple[FinetuningType, Quantization | None, int, bool]:
        """The settings that decide which terms of the estimate apply."""
        return (
            self.settings.finetuning_type,
            self.settings.quantization,
            self.settings.zero_stage,
            self.settings.gradient_checkpointing,
        )


def nested(row: dict[str, Any]) -> dict[str, Any]:
    """A line as the fields of a ``ProbePoint``; the fields of version 0.1 were flat."""
    if "settings" in row or "finetuning_type" not in row:
        return row
    figures = [item.name for item in fields(ProbeFigures)]
    return {
        **row,
        "settings": {item.name: row.get(item.name) for item in fields(ProbedSettings)},
        "predicted": {name: row.get(f"predicted_{name}") for name in figures},
        "measured": {name: row.get(f"measured_{name}") for name in figures},
    }


def calibration_path() -> Path:
    """The file of this machine's points."""
    return calibration_file()


def store(point: ProbePoint, path: Path | None = None) -> Path:
    """Append one point, and return the file."""
    target = calibration_path() if path is None else path
    runs.append_line(target, msgspec.json.encode(point).decode())
    return target


def load_calibration(machine: Machine, path: Path | None = None) -> list[ProbePoint]:
    """The points measured on this kind of device, oldest first.

    Points of a GPU hold for every card of its name; points of a CPU hold only for the machine that
    they came from. Lines that cannot be read (of another version, or cut off) are skipped.
    """
    target = calibration_path() if path is None else path
    names = {device.name for device in machine.devices}
    points = []
    for row in runs.read_json_lines(target):
        with contextlib.suppress(msgspec.ValidationError):
            point = msgspec.convert(nested(row), ProbePoint)
            on_this_cpu = point.device_name == CPU_DEVICE and point.host_name == machine.name
            if point.device_name in names or on_this_cpu:
                points.append(point)
    return points
