"""Points that probes measured on this machine, kept from plan to plan.

Every probe is one JSON line in <state>/calibration.jsonl. A line is appended in one write, because
several probes may run at once, and so that a crash costs at most the last line.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path

from memory_models.architecture import Architecture
from memory_models.device import Machine
from memory_models.frozen import frozen
from memory_models.settings import (
    BaseStorage,
    BatchLayout,
    FinetuningType,
    Kernels,
    Sharding,
    Streaming,
)
from memory_models.settings.flat import with_fields_of_today
from tsplanner import __version__, runs
from tsplanner.planner.devices import used_devices
from tsplanner.planner.settings import HardwareSettings, LearningSettings
from tsplanner.settings import calibration_file

CPU_DEVICE = "cpu"
AGES_AFTER_DAYS = 90
"""Days after which a point counts no more: drivers, clocks and neighbours have changed by then."""
SECONDS_PER_DAY = 86_400
DECISIVE = ("tsplanner", "torch", "transformers", "peft")
"""Packages whose other version makes a point count no more: forecast or step are others then."""


@frozen
class ProbedKind:
    """The kind of run that a point was measured on, besides its batch and length."""

    architecture: str
    """Digest of the model's shapes, whatever its folder is called."""
    device_name: str
    """The GPUs as the driver prints them, or ``cpu``."""
    finetuning_type: FinetuningType
    base: BaseStorage
    kernels: Kernels
    sharding: Sharding
    streaming: Streaming = field(default_factory=Streaming)


@frozen
class ProbeFigures:
    """Bytes per process, and seconds of the probed step; None: not known."""

    allocated_bytes: int | None = None
    reserved_bytes: int | None = None
    process_bytes: int | None = None
    step_seconds: float | None = None


@frozen
class ProbePoint:
    """One probe: predicted and measured figures of the same settings."""

    kind: ProbedKind
    batch: BatchLayout
    sequence_length: int
    """Decoder positions of the longest batch, which is what a probe runs."""
    model: str
    """Name of the model, for a person."""
    host_name: str
    """Name of the machine."""
    predicted: ProbeFigures
    """Figures without the factors of earlier probes."""
    measured: ProbeFigures
    bound_by_launch: bool = False
    """Whether the probed step waits for the host, by the prediction."""
    baseline_bytes: int | None = None
    """Resident bytes after the imports (CPU)."""
    versions: dict[str, str] = field(default_factory=dict)
    unix_time: float = 0.0
    own_factor: float | None = None
    """What the seconds say of work and issuing, where the step waited for streamed layers; None:
    measured over predicted seconds."""

    @property
    def memory_factor(self) -> float | None:
        """Measured over predicted process bytes; None: one of them is not known."""
        return _ratio(self.measured.process_bytes, self.predicted.process_bytes)

    @property
    def time_factor(self) -> float | None:
        """By what the step's seconds correct work and issuing; None: they are not known."""
        if self.own_factor is not None:
            return self.own_factor
        return _ratio(self.measured.step_seconds, self.predicted.step_seconds)


def _ratio(measured: float | None, predicted: float | None) -> float | None:
    return measured / predicted if measured and predicted else None


def shapes_digest(architecture: Architecture) -> str:
    """A short digest of a model's shapes, equal for two folders of the same model."""
    import hashlib  # only a machine with points needs it

    shapes = repr(replace(architecture, name=""))
    return hashlib.sha256(shapes.encode()).hexdigest()[:16]


def device_name(machine: Machine, hardware: HardwareSettings) -> str:
    """What the points of these settings are filed under: the names of the GPUs used, or ``cpu``."""
    names = {device.name for device in used_devices(machine, hardware)}
    return " + ".join(sorted(names)) or CPU_DEVICE


def kind_of(
    digest: str, machine: Machine, learning: LearningSettings, hardware: HardwareSettings
) -> ProbedKind:
    """The kind of run of these settings, of the model with this digest."""
    return ProbedKind(
        architecture=digest,
        device_name=device_name(machine, hardware),
        finetuning_type=learning.method.finetuning_type,
        base=hardware.base,
        kernels=hardware.kernels,
        sharding=hardware.sharding,
        streaming=hardware.streaming,
    )


def why_aged(point: ProbePoint, installed: Mapping[str, str], now: float) -> str | None:
    """Why a point counts no more, in words; None: it counts.

    ``installed``: versions of the packages that are here; ``now``: seconds since 1970.
    """
    if now - point.unix_time > AGES_AFTER_DAYS * SECONDS_PER_DAY:
        return f"older than {AGES_AFTER_DAYS} days"
    for name in DECISIVE:
        then, here = point.versions.get(name), installed.get(name)
        if here is not None and then != here:
            return f"made with {name} {then or 'of an unknown version'}, and {here} is here"
    return None


def installed_versions() -> dict[str, str]:
    """Versions of the packages that decide whether a point counts, as far as they are here."""
    from importlib import metadata  # slow to import, and most plans have no point to judge

    # The metadata of a clone keeps the version of the day it was installed.
    found = {"tsplanner": __version__}
    for name in DECISIVE[1:]:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def store(point: ProbePoint, path: Path | None = None) -> Path:
    """Append one point, and return the file."""
    import msgspec

    target = calibration_file() if path is None else path
    runs.append_line(target, msgspec.json.encode(point).decode())
    return target


def read_points(path: Path | None = None) -> tuple[list[ProbePoint], int]:
    """Every point, oldest first, and the number of lines that are of an older version or cut off.

    Points of older versions did not say what kernels they were measured on, so none of them counts.
    """
    import msgspec

    points, unread = [], 0
    for row in runs.read_json_lines(calibration_file() if path is None else path):
        try:
            kind = with_fields_of_today(row.get("kind"), "streaming")
            points.append(msgspec.convert({**row, "kind": kind}, ProbePoint))
        except (msgspec.ValidationError, ValueError):
            unread += 1
    return points, unread


def load_calibration(machine: Machine, path: Path | None = None) -> list[ProbePoint]:
    """The points measured on this kind of device, oldest first.

    Points of a GPU hold for every card of its name; points of a CPU hold only for the machine that
    they came from.
    """
    names = {device.name for device in machine.devices}
    return [
        point
        for point in read_points(path)[0]
        if (
            point.host_name == machine.name
            if point.kind.device_name == CPU_DEVICE
            else names.issuperset(point.kind.device_name.split(" + "))
        )
    ]
