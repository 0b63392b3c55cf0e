"""``tsplanner plan --experiment``: a recorded run planned again, and its record beside the plan."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from memory_models.estimate import estimate_memory
from memory_models.settings import Attention, Dtype, Optimizer
from memory_models.states.chatts_remote_code import as_released
from memory_models.units import format_gib, round_up
from tsplanner.commands.views.screen import Screen
from tsplanner.planner.experiments.recorded import Experiment, experiment_names, read_experiment
from tsplanner.planner.gather.requests import Subject, plan_request
from tsplanner.planner.plan import HardwareSettings, training_settings
from tsplanner.planner.request import Pins, PlanRequest
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
    typed = {
        field.name: value
        for field in fields(Pins)
        if (value := getattr(given.pins, field.name)) not in (None, False)
    }
    if given.pins.pinned_quantization:
        typed["quantization"] = given.pins.quantization
    return replace(
        given,
        model=given.model or experiment.model,
        machine=given.machine if described else experiment.machines[0],
        rows=None if given.dataset else experiment.dataset_ref(),
        learning={**experiment.learning, **given.learning},
        pins=replace(experiment.pins, **typed),
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
    hardware = HardwareSettings(
        world_size=pins.world_size or 1,
        micro_batch_size=pins.micro_batch_size or 1,
        gradient_accumulation_steps=experiment.accumulation,
        gradient_checkpointing=pins.gradient_checkpointing is not False,
        attention=pins.attention or Attention.SDPA,
        optimizer=Optimizer.ADAMW_TORCH,
        model_dtype=pins.model_dtype or Dtype.FP16,
        autocast=pins.model_dtype or Dtype.FP16,
        quantization=pins.quantization,
        zero_stage=pins.zero_stage or 0,
        offload_optimizer=bool(pins.offload_optimizer),
        offload_param=bool(pins.offload_param),
    )
    length = round_up(request.dataset.sequence_length(hardware.micro_batch_size), PAD_MULTIPLE)
    patches = request.dataset.series_patches(length)
    settings = training_settings(experiment.settings, hardware, length, patches)
    device = min(request.machine.devices, key=lambda found: found.free_bytes)
    memory = estimate_memory(
        as_released(request.architecture),
        replace(settings, upcast_unquantized=False),
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


def print_record(record: ExperimentRecord | None) -> None:
    """The record, if it is one that was planned, beside what its figures and machines allow."""
    if record is None:
        return
    screen = Screen()
    screen.line()
    lines = experiment_lines(record.experiment, record.machines)
    for number, (words, style) in enumerate(lines):
        screen.line(f"  {'' if number else 'Record':<9}{words}", style)


def experiment_lines(experiment: Experiment, machines: list[OnMachine]) -> list[tuple[str, str]]:
    """(words, style): figures of the record, whether they agree, each machine, each note."""
    found, settings = experiment.recorded, experiment.settings
    loss = "" if found.mean_train_loss is None else f", mean loss {found.mean_train_loss}"
    lines = [
        (
            f"{experiment.record}: {found.total_steps} steps of {found.seconds_per_step} s, "
            f"{found.samples_per_second} samples/s{loss}",
            "bold",
        )
    ]
    steps = experiment.total_steps(found.rounding)
    slow, fast = experiment.samples_per_second()
    lines += [
        _agreement(
            f"{steps} steps: {experiment.dataset.rows_kept} rows, "
            f"{settings.effective_batch_size} a step, {settings.num_train_epochs} epochs, "
            f"{TRAINERS[found.rounding]}",
            experiment.steps_agree,
        ),
        _agreement(
            f"{slow:.4f} to {fast:.4f} samples/s: {experiment.dataset.rows_kept} rows x "
            f"{settings.num_train_epochs} epochs in {found.total_steps} x "
            f"{found.seconds_per_step} s",
            experiment.speed_agrees,
        ),
    ]
    lines += [_on_machine(found_on) for found_on in machines]
    return lines + [(f"! {note}", "yellow") for note in experiment.notes]


def _agreement(words: str, agrees: bool) -> tuple[str, str]:
    if agrees:
        return f"✔ {words}", "green"
    return f"✘ {words}: the record disagrees", "red"


def _on_machine(found: OnMachine) -> tuple[str, str]:
    word = "works" if found.fits else "cannot work"
    if found.fits and found.upper_bytes > found.free_bytes:
        word = "may work, tight,"
    return (
        f"{'✔' if found.fits else '✘'} {word} on {found.machine}: its trainer needs "
        f"{format_gib(found.needs_bytes)} GiB a card (95 %: {format_gib(found.upper_bytes)}), "
        f"{format_gib(found.free_bytes)} are free",
        "green" if found.fits else "red",
    )


def experiment_list() -> list[str]:
    """A line for every recorded run."""
    rows = [(name, read_experiment(name)) for name in experiment_names()]
    width = max(len(name) for name, _ in rows)
    return [
        f"{name:<{width}}  {found.recorded.total_steps:>4} steps  "
        f"{found.recorded.samples_per_second:.3f} samples/s  {found.record}"
        for name, found in rows
    ]
