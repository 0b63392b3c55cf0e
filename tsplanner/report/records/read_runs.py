"""Run folders as summaries: a plan, a record, and the lines written while the run went on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tsplanner import runs
from tsplanner.errors import TsplannerError
from tsplanner.planner.files import read_plan
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import HardwareSettings, pace_given
from tsplanner.reading import decoded, read_text
from tsplanner.report.page import Both, Remark
from tsplanner.report.records.answers import read_answers
from tsplanner.report.records.metric_lines import points
from tsplanner.report.records.overfitting import overfitting, record_points
from tsplanner.report.records.run_record import (
    Curves,
    DatasetSummary,
    Found,
    HardwareSummary,
    LeftOut,
    Losses,
    ModelSummary,
    Outcome,
    PeakMemory,
    RunSummary,
    SettingsSummary,
)
from tsplanner.report.records.trials import read_trials
from tsplanner.training.job import JobKind
from tsplanner.training.record import Record, parse_record
from tsplanner.tune.search.paired_eval import read_example_losses

LONGEST_DETAIL = 200
"""Characters of an error message that the report shows."""


def read_runs(saves: Path) -> Found:
    """Every full run under ``saves`` in order of the names; what cannot be read is left out.

    Raises TsplannerError if ``saves`` does not exist.
    """
    if not saves.is_dir():
        raise TsplannerError(
            f"{saves} is not a directory: train a plan first, or name it with --saves."
        )
    found: list[RunSummary] = []
    left_out: list[LeftOut] = []
    for folder in sorted(run_folders(saves)):
        # A trial without a record would pass for an unfinished run.
        if "trials" in folder.relative_to(saves).parts:
            continue
        run = read_run(folder, saves)
        if isinstance(run, RunSummary):
            found.append(run)
        elif run is not None:
            left_out.append(run)
    return Found(runs=tuple(found), left_out=tuple(left_out))


STARTED = frozenset({"owner.json", "metrics.jsonl", "worker.log", runs.PLAN_FILE})
"""Files of which a run that was started has at least one."""


def run_folders(saves: Path) -> Iterator[Path]:
    """Folders under ``saves`` that hold a run, also through a link, and each of them once."""
    seen: set[str] = set()
    roots = [saves]
    while roots:
        for root, names, files in os.walk(roots.pop(0)):
            place = os.path.realpath(root)
            if place in seen:
                names.clear()
                continue
            seen.add(place)
            # A link comes last, so that a run has the name of its own folder if that is here, too.
            roots += [path for name in sorted(names) if (path := Path(root) / name).is_symlink()]
            # A run that was cut off has a job and no record, and is named among those left out. An
            # export that nobody has started is no run.
            if "record.json" in files or ("job.json" in files and STARTED.intersection(files)):
                yield Path(root)


def run_name(folder: Path, saves: Path) -> str:
    """A run's place under the saves folder; its whole path where it lies elsewhere."""
    if folder.is_relative_to(saves):
        return str(folder.relative_to(saves))
    inside, saves = folder.resolve(), saves.resolve()
    return str(inside.relative_to(saves) if inside.is_relative_to(saves) else folder)


def read_run(
    folder: Path, saves: Path, remarks: tuple[Remark, ...] = ()
) -> RunSummary | LeftOut | None:
    """One run folder; None if the folder holds something else than a full run."""
    name = run_name(folder, saves)
    try:
        record = parse_record((folder / "record.json").read_bytes())
    except FileNotFoundError:
        return LeftOut(run=name, key="left_out_unfinished")
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        return LeftOut(run=name, key="left_out_record", detail=_first_line(error))
    if record.kind is not JobKind.TRAIN:
        return None
    try:
        plan = read_plan(folder / runs.PLAN_FILE)
    except TsplannerError as error:
        return LeftOut(run=name, key="left_out_plan", detail=_first_line(error))
    return own_run(name, plan, record, folder, remarks or search_remarks(folder))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:LONGEST_DETAIL]


def search_remarks(folder: Path) -> tuple[Remark, ...]:
    """What a search before the run decided, and why; empty without a search."""
    try:
        content = decoded(read_text(folder / "tune.json"))
        english = str(content["decision"]["sentence"])
        chinese = content["decision"].get("sentence_zh")  # searches of version 0.2 have none
        return (english if chinese is None else Both(english=english, chinese=str(chinese)),)
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def own_run(
    name: str, plan: Plan, record: Record, folder: Path, remarks: tuple[Remark, ...] = ()
) -> RunSummary:
    """The summary of a plan, its record and the lines in the run's folder."""
    lines, damaged = runs.sound_lines(folder / "metrics.jsonl")
    if damaged:
        remarks = (*remarks, f"{damaged} lines of metrics.jsonl cannot be read and are left out.")
    return RunSummary(
        name=name,
        model=_model(plan),
        hardware=_hardware(plan, record),
        dataset=_dataset(plan),
        settings=_settings(plan),
        outcome=_outcome(record),
        losses=_losses(record, folder),
        memory=_memory(record),
        curves=_curves(record, lines),
        plan=plan,
        remarks=remarks,
        versions=dict(record.versions),
        trials=read_trials(folder),
    )


def _model(plan: Plan) -> ModelSummary:
    hardware = plan.hardware
    return ModelSummary(
        name=plan.model.name,
        parameters=plan.model.parameters_total,
        quantization=str(hardware.base.quantization) if hardware.base.quantization else None,
        precision=str(hardware.base.model_dtype),
    )


def _hardware(plan: Plan, record: Record) -> HardwareSummary:
    return HardwareSummary(
        device=device_name(plan, record),
        gpus=plan.hardware.sharding.world_size,
        on_cpu=plan.hardware.accelerator == "cpu",
        sharding=sharding_label(plan.hardware),
    )


def _dataset(plan: Plan) -> DatasetSummary:
    return DatasetSummary(
        name=plan.dataset.name,
        rows_total=plan.dataset.lengths.rows_total,
        rows_kept=plan.dataset.lengths.rows_kept,
        mean_sequence=plan.dataset.lengths.mean,
        validation_fraction=plan.learning.data.validation_fraction,
    )


def _settings(plan: Plan) -> SettingsSummary:
    learning, hardware = plan.learning, plan.hardware
    return SettingsSummary(
        method=str(learning.method.finetuning_type),
        rank=None
        if learning.method.finetuning_type in ("full", "freeze")
        else learning.method.lora_rank,
        learning_rate=learning.optimization.learning_rate,
        schedule=learning.optimization.lr_scheduler_type,
        seed=learning.seed,
        effective_batch=hardware.effective_batch_size,
        micro_batch=hardware.batch.micro_batch_size,
        token_budget=hardware.batch.token_budget,
        pace=", ".join(f"{name} {value:g}" for name, value in pace_given(learning).items()),
    )


def _outcome(record: Record) -> Outcome:
    timed = sorted(record.timing.step_seconds)
    return Outcome(
        epochs=record.epochs,
        steps=record.steps,
        status=str(record.status),
        message=record.message,
        seconds=record.timing.seconds,
        samples_per_second=record.timing.samples_per_second,
        step_seconds=timed[len(timed) // 2] if timed else None,
    )


def _losses(record: Record, folder: Path) -> Losses:
    best = min(record.losses.evaluations, key=lambda item: item.loss, default=None)
    return Losses(
        mean=record.losses.mean_loss,
        last=record.losses.last_loss,
        held_out=best.loss if best else None,
        best_epoch=best.epoch if best else None,
        held_out_rows=read_example_losses(folder),
        values=record.losses.values,
        answers=read_answers(folder),
    )


def _memory(record: Record) -> PeakMemory:
    return PeakMemory(
        process_bytes=record.memory.process_bytes,
        reserved_bytes=record.memory.peak_reserved_bytes,
        allocated_bytes=record.memory.peak_allocated_bytes,
    )


def _curves(record: Record, lines: list[dict[str, object]]) -> Curves:
    return Curves(
        training=points(lines, "loss"),
        evaluations=points(lines, "eval_loss"),
        verdict=overfitting(record_points(record)),
    )


def device_name(plan: Plan, record: Record) -> str:
    """The name of one GPU; the CPU with its cores."""
    if plan.hardware.accelerator == "cpu":
        return f"CPU, {plan.machine.host.cpu_count} cores"
    return record.device_name or (plan.machine.devices[0].name if plan.machine.devices else "GPU")


def sharding_label(hardware: HardwareSettings) -> str:
    """The ZeRO stage and what is offloaded to the host, or FSDP2; they cost speed and set runs
    apart.
    """
    if hardware.sharding.shards_base:
        return "FSDP2 per machine" if hardware.sharding.fsdp_per_host else "FSDP2"
    if not hardware.sharding.zero_stage:
        return "none"
    offload = (
        ("param", hardware.sharding.offload_param),
        ("optimizer", hardware.sharding.offload_optimizer),
    )
    names = [name for name, on in offload if on]
    return f"ZeRO-{hardware.sharding.zero_stage}" + (
        f" + {' + '.join(names)} offload" if names else ""
    )
