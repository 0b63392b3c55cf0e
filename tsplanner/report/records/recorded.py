"""Runs that were written down elsewhere (configs/experiments), beside one's own."""

from __future__ import annotations

from pathlib import Path

from memory_models.settings import Sharding
from tsplanner.errors import TsplannerError
from tsplanner.hardware.describe import read_machine_file, shipped_machine
from tsplanner.planner.experiments.recorded import Experiment, experiment_names, read_experiment
from tsplanner.planner.settings import HardwareSettings
from tsplanner.report.records.run_record import RunFacts, sharding


def recorded_runs(folder: Path | None = None) -> tuple[RunFacts, ...]:
    """The runs of a folder of experiment files; None: those that come with tsplanner.

    Raises TsplannerError: no such folder or no file in it; UsageError: a wrong file.
    """
    if folder is None:
        return tuple(recorded_facts(read_experiment(name)) for name in experiment_names())
    files = sorted(folder.glob("*.yaml")) if folder.is_dir() else []
    if not files:
        raise TsplannerError(f"{folder} holds no experiment files (*.yaml): name another folder.")
    return tuple(recorded_facts(read_experiment(str(path))) for path in files)


def recorded_facts(experiment: Experiment) -> RunFacts:
    """What the record says; what it does not say is None."""
    pins, settings, found = experiment.pins, experiment.settings, experiment.recorded
    said = experiment.learning
    world = pins.get("world_size") or 1
    hardware = HardwareSettings(
        sharding=Sharding(
            world_size=world,
            zero_stage=pins.get("zero_stage") or 0,
            offload_optimizer=bool(pins.get("offload_optimizer")),
            offload_param=bool(pins.get("offload_param")),
        )
    )
    return RunFacts(
        name=experiment.name,
        model=experiment.model,
        parameters=None,
        method=str(settings.method.finetuning_type),
        quantization=str(pins.get("quantization")) if pins.get("quantization") else None,
        precision=str(pins.get("model_dtype") or hardware.base.model_dtype),
        device=card_name(experiment.machines[0]),
        gpus=world,
        sharding=sharding(hardware),
        dataset="recorded",
        rows_total=experiment.dataset.rows_total,
        rows_kept=experiment.dataset.rows_kept,
        mean_sequence=experiment.dataset.mean_sequence,
        validation_fraction=settings.data.validation_fraction,
        seed=said.get("seed"),
        effective_batch=settings.optimization.effective_batch_size,
        micro_batch=pins.get("micro_batch_size") or 1,
        rank=settings.method.lora_rank if settings.method.finetuning_type.uses_adapter else None,
        learning_rate=said.get("learning_rate"),
        schedule=said.get("lr_scheduler_type"),
        epochs=settings.optimization.num_train_epochs,
        steps=found.total_steps,
        seconds=found.total_steps * found.seconds_per_step,
        samples_per_second=found.samples_per_second,
        mean_loss=found.mean_train_loss,
        step_seconds=found.seconds_per_step,
        remarks=experiment.notes,
    )


def card_name(machine: str) -> str:
    """The card of a machine file that comes with tsplanner; the file's name if it is not there."""
    path = shipped_machine(machine)
    devices = read_machine_file(path).devices if path else ()
    return devices[0].name if devices else machine
