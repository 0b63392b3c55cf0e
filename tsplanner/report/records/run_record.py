"""A run as the report sees it, whether it was trained here or written down elsewhere."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tsplanner import runs
from tsplanner.errors import TsplannerError
from tsplanner.planner.files import read_plan
from tsplanner.planner.plan import HardwareSettings, Plan
from tsplanner.report.records.overfitting import CurveVerdict, overfitting, record_points
from tsplanner.training.job import JobKind, Record, Status
from tsplanner.tune.search.paired_eval import PerExampleLosses, read_example_losses

Points = tuple[tuple[float, float], ...]
"""(step, value)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """One run. None: not known. Bytes are per rank."""

    name: str
    model: str
    parameters: int | None
    method: str
    quantization: str | None
    precision: str
    """Storage type of the base where it is not quantised."""
    device: str
    """What it ran on: one GPU's name, or the CPU with its cores."""
    gpus: int
    """Ranks; 1 on a CPU."""
    sharding: str
    """``none``, or what ZeRO shares and offloads."""
    dataset: str
    rows_total: int
    rows_kept: int
    mean_sequence: float
    """Decoder positions of the mean row."""
    validation_fraction: float
    seed: int | None
    effective_batch: int
    micro_batch: int
    rank: int | None
    """Of the adapters; None: there are none."""
    learning_rate: float | None
    schedule: str | None
    epochs: float
    steps: int
    status: str = str(Status.OK)
    message: str = ""
    seconds: float | None = None
    samples_per_second: float | None = None
    mean_loss: float | None = None
    last_loss: float | None = None
    eval_loss: float | None = None
    """Lowest on the held-out rows."""
    best_epoch: float | None = None
    held_out: PerExampleLosses = field(default_factory=list)
    """Loss and tokens of every held-out row at the best evaluation; empty: not known."""
    process_bytes: int | None = None
    reserved_bytes: int | None = None
    allocated_bytes: int | None = None
    step_seconds: float | None = None
    plan: Plan | None = None
    """None: written down elsewhere."""
    training: Points = ()
    evaluations: Points = ()
    curve: CurveVerdict | None = None
    remarks: tuple[str, ...] = ()
    """English sentences about it, such as the search's decision."""
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def samples_per_second_and_gpu(self) -> float | None:
        """Speed that runs on different numbers of GPUs have in common."""
        rate = self.samples_per_second
        return None if rate is None else rate / self.gpus

    @property
    def base(self) -> str:
        """How the base is stored."""
        return self.quantization or self.precision

    @property
    def hardware(self) -> str:
        """How many of which device."""
        on_cpu = self.plan is not None and self.plan.hardware.accelerator == "cpu"
        return self.device if on_cpu else f"{self.gpus}x {self.device}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A run folder that has no row in the report, and why."""

    run: str
    key: str
    """Words for the reason."""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What lies under a saves folder."""

    runs: tuple[RunFacts, ...]
    left_out: tuple[LeftOut, ...] = ()


def read_runs(saves: Path) -> Found:
    """Every full run under ``saves``, in order of their names; what cannot be read is named.

    Raises TsplannerError if ``saves`` does not exist.
    """
    if not saves.is_dir():
        raise TsplannerError(f"{saves} is no folder: train a plan first, or name it with --saves.")
    folders = {path.parent for name in ("job", "record") for path in saves.rglob(f"{name}.json")}
    found: list[RunFacts] = []
    left_out: list[LeftOut] = []
    for folder in sorted(folders):
        if "trials" in folder.relative_to(saves).parts:
            continue
        run = read_run(folder, saves)
        if isinstance(run, RunFacts):
            found.append(run)
        elif run is not None:
            left_out.append(run)
    return Found(runs=tuple(found), left_out=tuple(left_out))


def run_name(folder: Path, saves: Path) -> str:
    """A run by its place under the saves folder; by its whole path where it lies elsewhere."""
    inside, saves = folder.resolve(), saves.resolve()
    return str(inside.relative_to(saves) if inside.is_relative_to(saves) else folder)


def read_run(folder: Path, saves: Path, remarks: tuple[str, ...] = ()) -> RunFacts | LeftOut | None:
    """One run folder; None if what ran there was no full run."""
    name = run_name(folder, saves)
    try:
        record = msgspec.json.decode((folder / "record.json").read_bytes(), type=Record)
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
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def search_remarks(folder: Path) -> tuple[str, ...]:
    """What a search before the run decided, and why; nothing if there was none."""
    try:
        content = json.loads((folder / "tune.json").read_text(encoding="utf-8"))
        return (str(content["decision"]["sentence"]),)
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def own_run(
    name: str, plan: Plan, record: Record, folder: Path, remarks: tuple[str, ...] = ()
) -> RunFacts:
    """The facts of a plan, its record and the lines written while it ran."""
    learning, hardware = plan.learning, plan.hardware
    lines = runs.read_json_lines(folder / "metrics.jsonl")
    best = min(record.evaluations, key=lambda item: item.loss, default=None)
    timed = sorted(record.step_seconds)
    return RunFacts(
        name=name,
        model=plan.model.name,
        parameters=plan.model.parameters_total,
        method=str(learning.finetuning_type),
        quantization=str(hardware.quantization) if hardware.quantization else None,
        precision=str(hardware.model_dtype),
        device=device_name(plan, record),
        gpus=hardware.world_size,
        sharding=sharding(hardware),
        dataset=plan.dataset.name,
        rows_total=plan.dataset.rows_total,
        rows_kept=plan.dataset.rows_kept,
        mean_sequence=plan.dataset.mean_sequence,
        validation_fraction=learning.validation_fraction,
        seed=learning.seed,
        effective_batch=hardware.effective_batch_size,
        micro_batch=hardware.micro_batch_size,
        rank=None if learning.finetuning_type in ("full", "freeze") else learning.lora_rank,
        learning_rate=learning.learning_rate,
        schedule=learning.lr_scheduler_type,
        epochs=record.epochs,
        steps=record.steps,
        status=str(record.status),
        message=record.message,
        seconds=record.seconds,
        samples_per_second=record.samples_per_second,
        mean_loss=record.mean_loss,
        last_loss=record.last_loss,
        eval_loss=best.loss if best else None,
        best_epoch=best.epoch if best else None,
        held_out=read_example_losses(folder),
        process_bytes=record.process_bytes,
        reserved_bytes=record.peak_reserved_bytes,
        allocated_bytes=record.peak_allocated_bytes,
        step_seconds=timed[len(timed) // 2] if timed else None,
        plan=plan,
        training=points(lines, "loss"),
        evaluations=points(lines, "eval_loss"),
        curve=overfitting(record_points(record)),
        remarks=remarks,
        versions=dict(record.versions),
    )


def device_name(plan: Plan, record: Record) -> str:
    """One GPU's name; the CPU with its cores."""
    if plan.hardware.accelerator == "cpu":
        return f"CPU, {plan.machine.host.cpu_count} cores"
    return record.device_name or (plan.machine.devices[0].name if plan.machine.devices else "GPU")


def sharding(hardware: HardwareSettings) -> str:
    """What ranks share and what lies on the host: it costs speed, so it sets runs apart."""
    if not hardware.zero_stage:
        return "none"
    offload = ("param", hardware.offload_param), ("optimizer", hardware.offload_optimizer)
    names = [name for name, on in offload if on]
    return f"ZeRO-{hardware.zero_stage}" + (f" + {' + '.join(names)} offload" if names else "")


def points(lines: list[dict[str, object]], key: str) -> Points:
    """(step, value) of every line that has the key and a finite number for it."""
    return tuple(
        (float(step), float(value))
        for line in lines
        if isinstance(step := line.get("step"), int | float)
        and isinstance(value := line.get(key), int | float)
        and abs(value) < float("inf")
    )
