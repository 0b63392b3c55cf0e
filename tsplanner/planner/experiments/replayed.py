"""A recorded run planned again, and the memory that its own trainer needs on each machine."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from memory_models.estimate import estimate_memory
from memory_models.frozen import frozen
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
from tsplanner.errors import TsplannerError
from tsplanner.planner.experiments.recorded import Experiment, read_experiment
from tsplanner.planner.gather.requests import Subject, plan_request
from tsplanner.planner.plan import TimeEstimate
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings, training_settings
from tsplanner.planner.steps import Rounding

BASE_WEIGHTS = "base weights"
"""The name that the estimate gives to the frozen base."""
PAD_MULTIPLE = 8
"""Texts are padded to a multiple of this number of tokens."""

TRAINERS = {
    Rounding.FLOOR: "rounded down, as transformers up to 4.51 does",
    Rounding.CEIL: "rounded up, as transformers from 4.52 on does",
}


@frozen
class OnMachine:
    """The memory that a recorded run would need on one machine."""

    machine: str
    needs_bytes: int
    """Expected bytes per process."""
    upper_bytes: int
    """Upper bound of the bytes per process."""
    weight_bytes: int
    """Part of ``needs_bytes`` that is the frozen base."""
    free_bytes: int
    fits: bool
    """Whether the expected bytes are no more than the free bytes."""


def experiment_subject(experiment: Experiment, given: Subject) -> Subject:
    """The settings of the run, replaced by those that a person typed."""
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
    """The run under its own trainer, on the machine that was named or on those of its record."""
    named = given.machine is not None or given.gpus is not None
    subjects = [given] if named else [replace(given, machine=name) for name in experiment.machines]
    requests = (
        plan_request(experiment_subject(experiment, subject), saves) for subject in subjects
    )
    return [as_recorded(experiment, request) for request in requests if not request.on_cpu]


def recorded_hardware(experiment: Experiment) -> HardwareSettings:
    """The hardware settings of the run under its own trainer, with that trainer's defaults."""
    pins = experiment.pins
    half = pins.get("model_dtype", Dtype.FP16)
    return HardwareSettings(
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


def as_recorded(experiment: Experiment, request: PlanRequest) -> OnMachine:
    """The memory that the run would need on a machine under the trainer that made it.

    That trainer is LLaMA-Factory's fork with the code released with the models. It has fp32
    adapters on a base in half precision, keeps all logits, has the rotary caches of that code,
    holds embedding and head of a quantised base in half precision, and pads text to a multiple of
    8 tokens.

    Raises:
        TsplannerError: the model or the rig that was named cannot run the recorded settings.
    """
    hardware = recorded_hardware(experiment)
    length = round_up(request.dataset.longest_of(hardware.batch), PAD_MULTIPLE)
    patches = request.dataset.series_patches(length)
    settings = training_settings(experiment.settings, hardware, length, patches)
    device = min(request.machine.devices, key=lambda found: found.free_bytes)
    try:
        memory = estimate_memory(
            as_released(request.architecture),
            settings,
            device,
            request.calibration,
            replay=True,
        )
    except ValueError as error:
        raise TsplannerError(
            f"{request.model.name} on {request.machine.name} cannot run the recorded settings "
            f"({error}): give another --model or rig, or leave it out."
        ) from error
    return OnMachine(
        machine=request.machine.name,
        needs_bytes=memory.process_bytes.expected,
        upper_bytes=memory.process_bytes.upper,
        weight_bytes=sum(row.bytes for row in memory.components if row.name == BASE_WEIGHTS),
        free_bytes=device.free_bytes,
        fits=memory.process_bytes.expected <= device.free_bytes,
    )


@frozen
class ExperimentRecord:
    """A recorded run, the subject to plan for it, and the memory that it would need per machine."""

    experiment: Experiment
    subject: Subject
    machines: list[OnMachine]

    @classmethod
    def of(cls, name: str, given: Subject, saves: Path) -> ExperimentRecord:
        """The run of this name; ``given``: the settings that were typed beside the name.

        Raises:
            UsageError: there is no such run.
            TsplannerError: its model or a machine cannot be read.
        """
        experiment = read_experiment(name)
        return cls(
            experiment=experiment,
            subject=experiment_subject(experiment, given),
            machines=on_machines(experiment, given, saves),
        )

    def document(self, time: TimeEstimate | None = None) -> dict[str, Any]:
        """The record as plain values, for ``--json``; ``time``: of the plan, where there is one."""
        found = self.experiment
        seconds = found.recorded.seconds_per_step
        slow, fast = found.samples_per_second()
        return {
            "name": found.name,
            "recorded": asdict(found.recorded),
            "total_steps": found.total_steps(found.recorded.rounding),
            "samples_per_second": [slow, fast],
            "steps_agree": found.steps_agree,
            "speed_agrees": found.speed_agrees,
            **({} if time is None else {"time_agrees": time.holds(seconds)}),
            "machines": [asdict(row) for row in self.machines],
            "notes": list(found.notes),
        }
