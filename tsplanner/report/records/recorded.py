"""Runs that were recorded elsewhere (configs/experiments), as summaries."""

from __future__ import annotations

from pathlib import Path

from memory_models.settings import Sharding
from tsplanner.errors import TsplannerError
from tsplanner.hardware.describe import read_machine_file, shipped_machine
from tsplanner.planner.experiments.recorded import Experiment, experiment_names, read_experiment
from tsplanner.planner.settings import HardwareSettings
from tsplanner.report.records.read_runs import sharding_label
from tsplanner.report.records.run_record import (
    DatasetSummary,
    HardwareSummary,
    Losses,
    ModelSummary,
    Outcome,
    RunSummary,
    SettingsSummary,
)


def recorded_runs(folder: Path | None = None) -> tuple[RunSummary, ...]:
    """The runs in a folder of experiment files; None: those that come with tsplanner.

    Raises TsplannerError for a folder without experiment files, UsageError for a wrong file.
    """
    if folder is None:
        return tuple(recorded_run(read_experiment(name)) for name in experiment_names())
    files = sorted(folder.glob("*.yaml")) if folder.is_dir() else []
    if not files:
        raise TsplannerError(f"{folder} holds no experiment files (*.yaml): name another folder.")
    return tuple(recorded_run(read_experiment(str(path))) for path in files)


def recorded_run(experiment: Experiment) -> RunSummary:
    """The summary of a record; what the record does not say is None."""
    pins, found = experiment.pins, experiment.recorded
    world = pins.get("world_size") or 1
    hardware = HardwareSettings(
        sharding=Sharding(
            world_size=world,
            zero_stage=pins.get("zero_stage") or 0,
            offload_optimizer=bool(pins.get("offload_optimizer")),
            offload_param=bool(pins.get("offload_param")),
        )
    )
    return RunSummary(
        name=experiment.name,
        model=ModelSummary(
            name=experiment.model,
            parameters=None,
            quantization=str(pins.get("quantization")) if pins.get("quantization") else None,
            precision=str(pins.get("model_dtype") or hardware.base.model_dtype),
        ),
        hardware=HardwareSummary(
            device=card_name(experiment.machines[0]),
            gpus=world,
            on_cpu=False,
            sharding=sharding_label(hardware),
        ),
        dataset=_dataset(experiment),
        settings=_settings(experiment),
        outcome=Outcome(
            epochs=experiment.settings.optimization.num_train_epochs,
            steps=found.total_steps,
            seconds=found.total_steps * found.seconds_per_step,
            samples_per_second=found.samples_per_second,
            step_seconds=found.seconds_per_step,
        ),
        losses=Losses(mean=found.mean_train_loss),
        remarks=experiment.notes,
    )


def _dataset(experiment: Experiment) -> DatasetSummary:
    return DatasetSummary(
        name="recorded",
        rows_total=experiment.dataset.rows_total,
        rows_kept=experiment.dataset.rows_kept,
        mean_sequence=experiment.dataset.mean_sequence,
        validation_fraction=experiment.settings.data.validation_fraction,
    )


def _settings(experiment: Experiment) -> SettingsSummary:
    settings, said = experiment.settings, experiment.learning
    return SettingsSummary(
        method=str(settings.method.finetuning_type),
        rank=settings.method.lora_rank if settings.method.finetuning_type.uses_adapter else None,
        learning_rate=said.get("learning_rate"),
        schedule=said.get("lr_scheduler_type"),
        seed=said.get("seed"),
        effective_batch=settings.optimization.effective_batch_size,
        micro_batch=experiment.pins.get("micro_batch_size") or 1,
        pace=None,
    )


def card_name(machine: str) -> str:
    """The card in a machine file that comes with tsplanner; the name itself if there is no file."""
    path = shipped_machine(machine)
    devices = read_machine_file(path).devices if path else ()
    return devices[0].name if devices else machine
