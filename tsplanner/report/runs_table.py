"""One row per run, as text for a terminal and as plain values for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from memory_models.units import format_gib
from tsplanner.report.records.run_record import RunSummary
from tsplanner.report.text import loss

TEXT_COLUMNS = 6
"""The first columns hold words; the others hold figures."""

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


def cells(run: RunSummary) -> list[str]:
    """One run as text, in the order of the headings."""
    outcome, losses = run.outcome, run.losses
    rate, seconds = outcome.samples_per_second, outcome.seconds
    return [
        run.name,
        run.model.name,
        run.settings.method,
        run.model.quantization or "none",
        run.hardware.label,
        status_words(run),
        str(outcome.steps),
        f"{outcome.epochs:.3g}",
        "-" if seconds is None else f"{seconds:.1f}",
        "-" if seconds is None else f"{seconds / 60:.1f}",
        loss(losses.last),
        loss(losses.mean),
        loss(losses.held_out),
        "-" if rate is None else f"{rate:.3g}",
        format_gib(predicted_bytes(run)),
        format_gib(run.memory.process_bytes),
    ]


def status_words(run: RunSummary) -> str:
    """How a run ended, and whether it began from random weights."""
    return f"{run.outcome.status}, RANDOM WEIGHTS" if run.random_weights else run.outcome.status


def predicted_bytes(run: RunSummary) -> int | None:
    """Expected peak of a process in bytes per rank; None without a plan."""
    return run.plan.memory.process_bytes.expected if run.plan else None


def markdown(runs: Sequence[RunSummary]) -> str:
    """The runs as a Markdown table, padded so that it reads as plain text too."""
    lines = [list(HEADINGS), *(cells(run) for run in runs)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(HEADINGS))]

    def joined(values: list[str]) -> str:
        padded = [
            value.ljust(width) if index < TEXT_COLUMNS else value.rjust(width)
            for index, (value, width) in enumerate(zip(values, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = [
        "-" * width if index < TEXT_COLUMNS else "-" * (width - 1) + ":"
        for index, width in enumerate(widths)
    ]
    return "\n".join([joined(lines[0]), joined(rule), *(joined(line) for line in lines[1:])]) + "\n"


def short_list(runs: Sequence[RunSummary]) -> str:
    """The runs as text for a screen that the table does not fit: a name, then what is known."""
    lines = []
    for run in runs:
        name, *values = cells(run)
        pairs = zip(HEADINGS[1:], values, strict=True)
        known = [f"{heading} {value}" for heading, value in pairs if value not in ("-", "none")]
        lines += [name, f"  {' · '.join(known)}"]
    return "".join(f"{line}\n" for line in lines)


def document(run: RunSummary) -> dict[str, Any]:
    """The figures of a run as plain values for programs; bytes are per rank."""
    outcome, losses = run.outcome, run.losses
    return {
        "run": run.name,
        "model": run.model.name,
        "method": run.settings.method,
        "quantization": run.model.quantization or "none",
        "hardware": run.hardware.label,
        "status": outcome.status,
        "random_weights": run.random_weights is not None,
        "steps": outcome.steps,
        "epochs": outcome.epochs,
        "seconds": outcome.seconds,
        "last_loss": losses.last,
        "mean_loss": losses.mean,
        "eval_loss": losses.held_out,
        "samples_per_second": outcome.samples_per_second,
        "predicted_bytes": predicted_bytes(run),
        "measured_bytes": run.memory.process_bytes,
        "answers": [
            asdict(each) for each in losses.answers if each.step == losses.answers[-1].step
        ],
    }
