"""The planner's input: facts about model, data and machine, and the settings the user pinned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from memory_models.architecture import Architecture
from memory_models.calibration import DEFAULT, Calibration
from memory_models.device import Machine
from memory_models.frozen import frozen
from memory_models.settings import Streaming, flat, paths
from tsplanner.planner.gather.probe_points import ProbePoint
from tsplanner.planner.plan import DatasetRef, ModelRef
from tsplanner.planner.settings import HardwareSettings, LearningSettings
from tsplanner.throughput.rates import MEASURED, Efficiency


# ``frozen`` makes an ``__init__`` of its own, while ``Pins`` takes the names of fields as keywords.
@dataclass(frozen=True, slots=True, init=False)
class Pins:
    """Hardware settings that the user fixed, by field name; the planner chooses the rest.

    A field that is absent is open. A field that is None is fixed to None, which means a plain base
    for ``quantization``, and all layers or none for ``checkpointed_layers``.
    """

    values: Mapping[str, Any]

    def __init__(self, **values: object) -> None:
        """Fix these fields.

        Raises:
            TypeError: a name is not a field of the hardware settings.
            ValueError: no run can have these numbers of streamed layers.
        """
        if "streamed_layers" in values:
            # As the record has it, which takes equal numbers for one.
            given: Any = values["streamed_layers"]
            values["streamed_layers"] = Streaming(streamed_layers=given).streamed_layers
        for name in values:
            if name not in paths(HardwareSettings):
                raise TypeError(f"hardware settings have no field {name}")
        object.__setattr__(self, "values", values)

    def __contains__(self, name: str) -> bool:
        """Whether the user fixed this field."""
        return name in self.values

    def get(self, name: str, otherwise: Any = None) -> Any:
        """The value that the user fixed, or ``otherwise``."""
        return self.values.get(name, otherwise)

    def with_(self, **values: object) -> Pins:
        """A copy in which these fields are fixed as well, or to other values."""
        return Pins(**{**self.values, **values})

    def allow(self, hardware: HardwareSettings) -> bool:
        """Whether these settings have the fixed value in every fixed field."""
        known = flat(hardware)
        return all(known[name] == value for name, value in self.values.items())


@frozen
class PlanRequest:
    """Everything that a plan is made from."""

    architecture: Architecture
    model: ModelRef
    dataset: DatasetRef
    machine: Machine
    learning: LearningSettings
    pins: Pins = field(default_factory=Pins)
    calibration: Calibration = DEFAULT
    efficiency: Efficiency = MEASURED
    probes: tuple[ProbePoint, ...] = ()
    """Earlier probes of this model and method on this machine that still count, oldest first."""
    forced_cpu: bool = False
    """Plan for the CPU although there are GPUs."""
    allow_rounding: bool = False
    """Take what rounds the base or the optimizer's states for its speed alone."""

    def __post_init__(self) -> None:
        """Take the parts of an earlier request that are equal.

        The planner's caches know them, and find a record that is the same one at once, while one
        that is merely equal is compared field by field, down to each of 64 GPUs.
        """
        for name in ("architecture", "machine"):
            object.__setattr__(self, name, _first_of_its_kind(getattr(self, name)))

    @property
    def on_cpu(self) -> bool:
        """Whether the plan is for the CPU."""
        return self.forced_cpu or not self.machine.devices


@lru_cache(maxsize=64)
def _first_of_its_kind(record: Any) -> Any:
    """The first of all records that equal this one."""
    return record
