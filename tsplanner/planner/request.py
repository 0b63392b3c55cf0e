"""What the planner is asked: facts about model, data and machine, and what the user pinned."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from memory_models.architecture import Architecture
from memory_models.calibration import DEFAULT, Calibration
from memory_models.device import Machine
from memory_models.settings import Attention, Dtype, Kernels, LossKernel, Optimizer, Quantization
from tsplanner.planner.plan import DatasetRef, HardwareSettings, LearningSettings, ModelRef
from tsplanner.throughput.rates import MEASURED, Efficiency

NOT_SETTINGS = frozenset({"pinned_quantization", "quantization", "all_layers"})
"""Pins that are no hardware setting of that name, or not by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """Hardware settings that the user fixed; None: the planner chooses.

    ``quantization`` needs a third state: ``pinned_quantization`` says that None was meant.
    """

    world_size: int | None = None
    micro_batch_size: int | None = None
    gradient_checkpointing: bool | None = None
    checkpointed_layers: int | None = None
    all_layers: bool = False
    """Checkpoints on all layers or on none."""
    attention: Attention | None = None
    loss_kernel: LossKernel | None = None
    optimizer: Optimizer | None = None
    kernels: Kernels | None = None
    model_dtype: Dtype | None = None
    quantization: Quantization | None = None
    pinned_quantization: bool = False
    zero_stage: int | None = None
    offload_optimizer: bool | None = None
    offload_param: bool | None = None

    def allow(self, hardware: HardwareSettings) -> bool:
        """Whether these settings keep to everything that was pinned."""
        for pin in fields(self):
            wanted = getattr(self, pin.name)
            if pin.name in NOT_SETTINGS or wanted is None:
                continue
            if getattr(hardware, pin.name) != wanted:
                return False
        return not self.pinned_quantization or hardware.quantization == self.quantization


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """Everything a plan is made from."""

    architecture: Architecture
    model: ModelRef
    dataset: DatasetRef
    machine: Machine
    learning: LearningSettings
    pins: Pins = field(default_factory=Pins)
    calibration: Calibration = DEFAULT
    efficiency: Efficiency = MEASURED
    forced_cpu: bool = False
    """Plan for the CPU although there are GPUs."""

    @property
    def on_cpu(self) -> bool:
        """The device is the CPU."""
        return self.forced_cpu or not self.machine.devices
