"""One row a run under saves/: what it was, what it took, how it ended."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from tsplanner.errors import TsplannerError
from tsplanner.planner.files import read_plan
from tsplanner.planner.plan import Plan
from tsplanner.report.overfitting import overfitting, record_points
from tsplanner.report.text import gib, loss
from tsplanner.training.job import JobKind, Record

REPORT_FILE = "report.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run's figures. Bytes are per rank; None: not known."""

    run: str
    """Folder under saves/."""
    model: str
    method: str
    quantization: str
    hardware: str
    status: str
    steps: int
    epochs: float
    seconds: float
    last_loss: float | None
    mean_loss: float | None
    eval_loss: float | None
    """Best loss on the held-out rows."""
    samples_per_second: float | None
    predicted_bytes: int
    measured_bytes: int | None


def run_folders(saves: Path) -> list[Path]:
    """Folders with a plan and a full run's record, in order of their names.

    Raises TsplannerError if ``saves`` does not exist.
    """
    if not saves.is_dir():
        raise TsplannerError(f"{saves} is no folder: train a plan first, or name it with --saves.")
    found = []
    for path in sorted(saves.rglob("record.json")):
        folder = path.parent
        if (folder / "plan.json").is_file() and "trials" not in folder.relative_to(saves).parts:
            found.append(folder)
    return found


def run_name(folder: Path, saves: Path) -> str:
    """A run by its place under the saves folder; by its whole path where it lies elsewhere."""
    inside, saves = folder.resolve(), saves.resolve()
    return str(inside.relative_to(saves) if inside.is_relative_to(saves) else folder)


def run_row(folder: Path, saves: Path) -> RunRow | None:
    """The row of one run; None if its record or plan cannot be read or is no full run's."""
    try:
        record = msgspec.json.decode((folder / "record.json").read_bytes(), type=Record)
        plan = read_plan(folder / "plan.json")
    except (OSError, msgspec.MsgspecError, TsplannerError):
        return None
    if record.kind is not JobKind.TRAIN:
        return None
    best = min((evaluation.loss for evaluation in record.evaluations), default=None)
    return RunRow(
        run=run_name(folder, saves),
        model=plan.model.name,
        method=str(plan.learning.finetuning_type),
        quantization=str(plan.hardware.quantization or "none"),
        hardware=hardware_name(plan, record),
        status=str(record.status),
        steps=record.steps,
        epochs=record.epochs,
        seconds=record.seconds,
        last_loss=record.last_loss,
        mean_loss=record.mean_loss,
        eval_loss=best,
        samples_per_second=record.samples_per_second,
        predicted_bytes=plan.memory.process_bytes.expected,
        measured_bytes=record.process_bytes,
    )


def hardware_name(plan: Plan, record: Record) -> str:
    """How many of which device."""
    if plan.hardware.accelerator == "cpu":
        return f"CPU, {plan.machine.host.cpu_count} cores"
    name = record.device_name or (plan.machine.devices[0].name if plan.machine.devices else "GPU")
    return f"{plan.hardware.world_size}x {name}"


HEADINGS = (
    "run",
    "model",
    "method",
    "quantisation",
    "hardware",
    "status",
    "steps",
    "epochs",
    "seconds",
    "minutes",
    "loss, last step",
    "loss, run mean",
    "loss, held out (best)",
    "samples/s",
    "peak GiB, predicted",
    "peak GiB, measured",
)


def cells(row: RunRow) -> list[str]:
    """One row as text, in the order of the headings."""
    rate = row.samples_per_second
    return [
        row.run,
        row.model,
        row.method,
        row.quantization,
        row.hardware,
        row.status,
        str(row.steps),
        f"{row.epochs:.3g}",
        f"{row.seconds:.1f}",
        f"{row.seconds / 60:.1f}",
        loss(row.last_loss),
        loss(row.mean_loss),
        loss(row.eval_loss),
        "-" if rate is None else f"{rate:.3g}",
        gib(row.predicted_bytes, unit=False),
        gib(row.measured_bytes, unit=False),
    ]


def markdown(rows: list[RunRow]) -> str:
    """The rows as a Markdown table, padded so that it reads as plain text too."""
    lines = [list(HEADINGS), *(cells(row) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(HEADINGS))]
    text_columns = 6

    def joined(values: list[str]) -> str:
        padded = [
            value.ljust(width) if index < text_columns else value.rjust(width)
            for index, (value, width) in enumerate(zip(values, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = [
        "-" * width if index < text_columns else "-" * (width - 1) + ":"
        for index, width in enumerate(widths)
    ]
    return "\n".join([joined(lines[0]), joined(rule), *(joined(line) for line in lines[1:])]) + "\n"


def documents(rows: list[RunRow]) -> list[dict[str, Any]]:
    """The rows as plain values."""
    return [asdict(row) for row in rows]


def run_report(folder: Path, saves: Path, remarks: list[str]) -> str:
    """The report of one run: its row turned on its side, and what is to be said about it."""
    row = run_row(folder, saves)
    if row is None:
        return "# Run without a readable record\n"
    pairs = zip(HEADINGS[1:], cells(row)[1:], strict=True)
    record = msgspec.json.decode((folder / "record.json").read_bytes(), type=Record)
    said = [*remarks, *overfitting(record_points(record)).sentences]
    lines = [f"# {row.run}", "", *said, "", "| | |", "| --- | ---: |"]
    lines += [f"| {heading} | {value} |" for heading, value in pairs]
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    lines += ["", "Learning settings", "", "| | |", "| --- | ---: |"]
    lines += [f"| {key} | {value} |" for key, value in plan["learning"].items()]
    return "\n".join(lines) + "\n"
