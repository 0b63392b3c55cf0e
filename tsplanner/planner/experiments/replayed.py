"""A recorded run planned again, and what it would need of each machine under its own trainer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from memory_models.estimate import estimate_memory
from memory_models.settings import (
    Attention,
    BaseStorage,
    BatchLayout,
    Dtype,
    Kernels,
    Optimizer,
    Sharding,
)
from memory_models.states.chatts_remote_code import as_released
from memory_models.units import round_up
from tsplanner.planner.experiments.recorded import Experiment, read_experiment
from tsplanner.planner.gather.requests import Subject, plan_request
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings, training_settings
from tsplanner.planner.steps import Rounding

BASE_WEIGHTS = "base weights"
"""The estimate's name of the frozen base."""
PAD_MULTIPLE = 8

TRAINERS = {
    Rounding.FLOOR: "rounded down, as transformers up to 4.51 does",
    Rounding.CEIL: "rounded up, as transformers from 4.52 on does",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OnMachine:
    """What a recorded run would need of one machine."""

    machine: str
    needs_bytes: int
    """Process bytes a card, expected."""
    upper_bytes: int
    weight_bytes: int
    """What of it is the frozen base."""
    free_bytes: int
    fits: bool
    """The expected need is no more than what is free."""


def experiment_subject(experiment: Experiment, given: Subject) -> Subject:
    """The run's settings, with what was typed in place of the record's."""
    described = given.machine is not None or given.gpus is not None or given.cpu
    return replace(
        given,
        model=given.model or experiment.model,
        machine=given.machine if described else experiment.machines[0],
        rows=None if given.dataset else experiment.dataset_ref(),
        learning={**experiment.learning, **given.learning},
        pins=experiment.pins.with_(**given.pins.values),
    )


def on_machines(experiment: Experiment, given: Subject, saves: Path) -> list[OnMachine]:
    """The run under its own trainer on every machine of its record; on one named, if one was."""
    named = given.machine is not None or given.gpus is not None
    subjects = [given] if named else [replace(given, machine=name) for name in experiment.machines]
    requests = (
        plan_request(experiment_subject(experiment, subject), saves) for subject in subjects
    )
    return [as_recorded(experiment, request) for request in requests if not request.on_cpu]


def as_recorded(experiment: Experiment, request: PlanRequest) -> OnMachine:
    """What the run would need of a machine under the trainer that made it.

    That is LLaMA-Factory's fork with the code released with the models: fp32 adapters on a base in
    half precision, all logits kept, rotary caches where that code has them, embedding and head of
    a quantised base in half precision, text padded to a multiple of 8.
    """
    pins = experiment.pins
    half = pins.get("model_dtype", Dtype.FP16)
    hardware = HardwareSettings(
        batch=BatchLayout(
            micro_batch_size=pins.get("micro_batch_size", 1),
            gradient_accumulation_steps=experiment.accumulation,
            gradient_checkpointing=pins.get("gradient_checkpointing", True),
        ),
        base=BaseStorage(
            model_dtype=half,
            autocast=half,
            quantization=pins.get("quantization"),
            upcast_unquantized=False,
        ),
        kernels=Kernels(
            attention=pins.get("attention", Attention.SDPA), optimizer=Optimizer.ADAMW_TORCH
        ),
        sharding=Sharding(
            world_size=pins.get("world_size", 1),
            zero_stage=pins.get("zero_stage", 0),
            offload_optimizer=pins.get("offload_optimizer", False),
            offload_param=pins.get("offload_param", False),
        ),
    )
    length = round_up(
        request.dataset.sequence_length(hardware.batch.micro_batch_size), PAD_MULTIPLE
    )
    patches = request.dataset.series_patches(length)
    settings = training_settings(experiment.settings, hardware, length, patches)
    device = min(request.machine.devices, key=lambda found: found.free_bytes)
    memory = estimate_memory(
        as_released(request.architecture),
        settings,
        device,
        request.calibration,
        replay=True,
    )
    return OnMachine(
        machine=request.machine.name,
        needs_bytes=memory.process_bytes.expected,
        upper_bytes=memory.process_bytes.upper,
        weight_bytes=sum(row.bytes for row in memory.components if row.name == BASE_WEIGHTS),
        free_bytes=device.free_bytes,
        fits=memory.process_bytes.expected <= device.free_bytes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentRecord:
    """A recorded run, what is planned for it, and what it would need of each machine."""

    experiment: Experiment
    subject: Subject
    machines: list[OnMachine]

    @classmethod
    def of(cls, name: str, given: Subject, saves: Path) -> ExperimentRecord:
        """The run of this name; ``given``: what was typed beside it.

        Raises UsageError: no such run; also what planning for its machines raises.
        """
        experiment = read_experiment(name)
        return cls(
            experiment=experiment,
            subject=experiment_subject(experiment, given),
            machines=on_machines(experiment, given, saves),
        )

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        found = self.experiment
        slow, fast = found.samples_per_second()
        return {
            "name": found.name,
            "recorded": asdict(found.recorded),
            "total_steps": found.total_steps(found.recorded.rounding),
            "samples_per_second": [slow, fast],
            "steps_agree": found.steps_agree,
            "speed_agrees": found.speed_agrees,
            "machines": [asdict(row) for row in self.machines],
            "notes": list(found.notes),
        }
