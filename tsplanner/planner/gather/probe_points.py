"""Points that probes measured on this machine, kept from plan to plan.

One JSON line per probe in <state>/calibration.jsonl, appended in one write: several probes may run
at once, and a crash can cost at most the last line.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from memory_models.device import Machine
from memory_models.settings import FinetuningType, Quantization
from tsplanner import runs
from tsplanner.settings import calibration_file

CPU_DEVICE = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePoint:
    """One probe: what was predicted and what was measured. Bytes are per rank, None unknown."""

    device_name: str
    """The GPU as the driver prints it, or ``cpu``."""
    host_name: str
    """Name of the machine."""
    model: str
    finetuning_type: FinetuningType
    quantization: Quantization | None
    zero_stage: int
    gradient_checkpointing: bool
    world_size: int
    micro_batch_size: int
    sequence_length: int
    parameters_total: int
    parameters_trainable: int
    predicted_allocated_bytes: int
    predicted_reserved_bytes: int
    predicted_process_bytes: int
    predicted_step_seconds: float
    """Of the step that was probed, without the factors of earlier probes."""
    bound_by_launch: bool = False
    """That step waits for the host, by the prediction."""
    measured_allocated_bytes: int | None = None
    measured_reserved_bytes: int | None = None
    measured_process_bytes: int | None = None
    measured_step_seconds: float | None = None
    baseline_bytes: int | None = None
    """Resident bytes after the imports (CPU)."""
    versions: dict[str, str] = field(default_factory=dict)
    unix_time: float = 0.0

    @property
    def settings_class(self) -> tuple[FinetuningType, Quantization | None, int, bool]:
        """What decides which terms of the estimate are at work."""
        return (
            self.finetuning_type,
            self.quantization,
            self.zero_stage,
            self.gradient_checkpointing,
        )


def calibration_path() -> Path:
    """Where this machine's points lie."""
    return calibration_file()


def store(point: ProbePoint, path: Path | None = None) -> Path:
    """Append one point; returns the file."""
    target = calibration_path() if path is None else path
    runs.append_line(target, msgspec.json.encode(point).decode())
    return target


def load_calibration(machine: Machine, path: Path | None = None) -> list[ProbePoint]:
    """The points measured on this kind of device, oldest first.

    A GPU's points hold for every card of that name; a CPU's only for the machine they came from.
    Lines that cannot be read (of another version, or cut off) are passed over.
    """
    target = calibration_path() if path is None else path
    names = {device.name for device in machine.devices}
    points = []
    for row in runs.read_json_lines(target):
        with contextlib.suppress(msgspec.ValidationError):
            point = msgspec.convert(row, ProbePoint)
            on_this_cpu = point.device_name == CPU_DEVICE and point.host_name == machine.name
            if point.device_name in names or on_this_cpu:
                points.append(point)
    return points
