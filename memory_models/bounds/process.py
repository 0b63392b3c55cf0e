"""From reserved bytes to what the driver charges to the process, by GPU generation."""

from __future__ import annotations

from collections.abc import Mapping

from memory_models.calibration import Calibration
from memory_models.device import Device
from memory_models.result import Interval
from memory_models.settings import TrainingSettings

DEFAULT_MAJOR = 9
"""Generation assumed where no device is named: the one that was measured."""


def major_of(device: Device | None) -> int:
    """Major number of a device's compute capability."""
    return device.compute_capability[0] if device else DEFAULT_MAJOR


def by_generation(table: Mapping[int, int], major: int) -> int:
    """The entry of a compute capability's major number (or a count), or of the nearest below it."""
    if major in table:
        return table[major]
    known = [key for key in table if key <= major] or [min(table)]
    return table[max(known)]


def non_torch_interval(
    settings: TrainingSettings, major: int, calibration: Calibration
) -> Interval:
    """Bytes of context and libraries, those of several ranks included."""
    ranks = by_generation(
        calibration.device.distributed_bytes[settings.sharding.kind], settings.sharding.world_size
    )
    spread = by_generation(
        calibration.device.distributed_spread_bytes, settings.sharding.world_size
    )
    context = by_generation(calibration.device.context_bytes, major) + ranks
    spread += calibration.device.context_spread_bytes
    return Interval(expected=context, upper=context + spread)


def process_interval(
    reserved: Interval, outside: Interval, paged: int, major: int, calibration: Calibration
) -> Interval:
    """What the driver sees: reserved bytes, context and libraries.

    It charges no managed memory to the process, but that may lie on the device: the bound has it.
    """
    constants = calibration.device
    measured = major in constants.measured_generations
    widening = 1.0 if measured else constants.unmeasured_widening
    factor = calibration.device_factor
    return Interval(
        expected=round((reserved.expected + outside.expected) * factor),
        upper=round((reserved.upper + outside.upper + paged) * widening * factor),
    )
