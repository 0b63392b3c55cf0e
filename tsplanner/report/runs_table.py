"""One row a run as people see it in a terminal, and as plain values for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from memory_models.units import format_gib
from tsplanner.report.records.run_record import RunFacts
from tsplanner.report.text import loss


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
    seconds: float | None
    last_loss: float | None
    mean_loss: float | None
    eval_loss: float | None
    """Best loss on the held-out rows."""
    samples_per_second: float | None
    predicted_bytes: int | None
    measured_bytes: int | None


def row_of(run: RunFacts) -> RunRow:
    """The row of one run."""
    return RunRow(
        run=run.name,
        model=run.model,
        method=run.method,
        quantization=run.quantization or "none",
        hardware=run.hardware,
        status=run.status,
        steps=run.steps,
        epochs=run.epochs,
        seconds=run.seconds,
        last_loss=run.last_loss,
        mean_loss=run.mean_loss,
        eval_loss=run.eval_loss,
        samples_per_second=run.samples_per_second,
        predicted_bytes=run.plan.memory.process_bytes.expected if run.plan else None,
        measured_bytes=run.process_bytes,
    )


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
    rate, seconds = row.samples_per_second, row.seconds
    return [
        row.run,
        row.model,
        row.method,
        row.quantization,
        row.hardware,
        row.status,
        str(row.steps),
        f"{row.epochs:.3g}",
        "-" if seconds is None else f"{seconds:.1f}",
        "-" if seconds is None else f"{seconds / 60:.1f}",
        loss(row.last_loss),
        loss(row.mean_loss),
        loss(row.eval_loss),
        "-" if rate is None else f"{rate:.3g}",
        format_gib(row.predicted_bytes),
        format_gib(row.measured_bytes),
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
