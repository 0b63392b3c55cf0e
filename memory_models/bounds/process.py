"""Bounds of process bytes: reserved bytes plus what the driver charges beyond PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

from memory_models.calibration import Calibration
from memory_models.device import Device
from memory_models.result import Interval
from memory_models.settings import Attention, TrainingSettings

DEFAULT_MAJOR = 9
"""Compute capability that is assumed without a named device: the measured generation."""


def major_of(device: Device | None) -> int:
    """Major number of a device's compute capability."""
    return device.compute_capability[0] if device else DEFAULT_MAJOR


def by_generation(table: Mapping[int, int], major: int) -> int:
    """The entry of a major number (or a count of processes, a head size), or of the nearest smaller
    key.
    """
    if major in table:
        return table[major]
    known = [key for key in table if key <= major] or [min(table)]
    return table[max(known)]


def non_torch_interval(
    settings: TrainingSettings, major: int, calibration: Calibration, *, head_dim: int = 0
) -> Interval:
    """Bytes on the GPU outside PyTorch's allocator: CUDA context, libraries, NCCL, DeepSpeed, and
    what flex_attention's kernels spill at heads of ``head_dim`` numbers.
    """
    distributed = by_generation(
        calibration.device.distributed_bytes[settings.sharding.kind], settings.sharding.world_size
    )
    spread = by_generation(
        calibration.device.distributed_spread_bytes, settings.sharding.world_size
    )
    context = by_generation(calibration.device.context_bytes, major) + distributed
    if settings.kernels.attention is Attention.FLEX_ATTENTION:
        context += by_generation(calibration.device.flex_spilled_bytes, head_dim)
    spread += calibration.device.context_spread_bytes
    return Interval(expected=context, upper=context + spread)


def process_interval(
    reserved: Interval, non_torch: Interval, paged: int, major: int, calibration: Calibration
) -> Interval:
    """Bytes that the driver charges to the process.

    The driver does not charge managed memory (``paged``) to the process, but managed memory may lie
    on the device, so the bound includes it.
    """
    constants = calibration.device
    measured = major in constants.measured_generations
    widening = 1.0 if measured else constants.unmeasured_widening
    factor = calibration.device_factor
    return Interval(
        expected=round((reserved.expected + non_torch.expected) * factor),
        upper=round((reserved.upper + non_torch.upper + paged) * widening * factor),
    )
