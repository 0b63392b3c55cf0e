"""What a person sees of a full run at its end."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from memory_models.units import counted, format_gib
from tsplanner.commands.views.probe import failure_lines
from tsplanner.commands.views.screen import Screen
from tsplanner.console import command
from tsplanner.planner.plan import Plan
from tsplanner.probe.finished import FinishedRun, weights_name
from tsplanner.probe.runner import to_json
from tsplanner.report.records.overfitting import overfitting, record_points
from tsplanner.report.serving import loading, place_in
from tsplanner.report.text import duration, loss
from tsplanner.training.job import ANSWERS_FILE, Status
from tsplanner.training.record import Record, Unchecked


def outcome_lines(plan: Plan, folder: Path, record: Record) -> list[str]:
    """What a person reads at the end."""
    if record.status is not Status.OK:
        again = command("train", "--run-folder", folder, "--resume")
        return [*failure_lines(plan, record), f"Next   {again}"]
    best = min(record.losses.evaluations, key=lambda item: item.loss, default=None)
    words = f"eval {loss(best.loss)}   best epoch {best.epoch:.3g}   " if best else ""
    predicted = plan.memory.process_bytes.expected
    kept = weights_name(plan)
    answers = "" if record.losses.values is None else "values.jsonl, "
    answers += f"{ANSWERS_FILE}, " if (folder / ANSWERS_FILE).is_file() else ""
    why = plan.model.without_weights
    return [
        *([] if why is None else [f"RANDOM WEIGHTS   {why}"]),
        f"done   {counted(record.steps, 'step')} in {duration(record.timing.seconds)}   {words}"
        f"peak {format_gib(record.memory.process_bytes, unit=True)}, "
        f"predicted {format_gib(predicted, unit=True)}",
        *([record.message] if record.message else []),
        *(f"values {words}" for words in values_sentences(record)),
        *(f"curve  {words}" for words in overfitting(record_points(record)).sentences),
        f"saved  {folder}/   {kept}, plan.json, metrics.jsonl, {answers}report.html, report.md",
    ]


def use_lines(plan: Plan, folder: Path, record: Record) -> list[str]:
    """Where a run that is over goes on from here: code that loads it, its card, the merge."""
    if record.status is not Status.OK:
        return []
    place = place_in(plan, folder, weights_name(plan))
    first, *rest = loading(plan, place)
    merges = plan.learning.method.finetuning_type.uses_adapter and plan.model.has_weights
    return [
        f"use    {first}",
        *(f"       {line}" for line in rest if line),
        f"card   {place.weights}/README.md   data, settings, losses, code, vLLM, llama.cpp",
        *([f"merge  {command('merge', folder)}"] if merges else []),
    ]


UNCHECKED = {
    Unchecked.SHARDED: "no process has the whole model (ZeRO-3, FSDP2)",
    Unchecked.NO_TIME: "no answer within a minute: streamed layers come anew for every token",
}


def values_sentences(record: Record) -> list[str]:
    """What the trained model's answers to held-out rows are worth; nothing if none was checked."""
    values, why = record.losses.values, record.losses.unchecked
    if values is None:
        return [] if why is None else [f"not checked: {UNCHECKED[why]}"]
    kinds = ", ".join(f"{each.kind} {each.right} of {each.stated}" for each in values.claims)
    best = min(record.losses.evaluations, key=lambda item: item.loss, default=None)
    last = best is not None and values.step not in (None, best.step)
    whose = ", by the last weights and not the best" if last else ""
    answers = counted(values.answers, "answer")
    return [f"right in {values.right} of {answers} checked{whose} ({kinds})"]


def print_random_weights(plan: Plan, *, shown: bool = True) -> None:
    """Say in red that a run starts from random weights; nothing for a model that has its own."""
    why = plan.model.without_weights
    if shown and why is not None:
        Screen().line(f"RANDOM WEIGHTS   {why}: what is trained is worth nothing", "bold red")


def finished_line(done: FinishedRun) -> str:
    """What a person reads instead of a second training."""
    record = done.record
    best = min(record.losses.evaluations, key=lambda item: item.loss, default=None)
    reached = f", eval {loss(best.loss)}" if best else ""
    return (
        f"This run is over ({counted(record.steps, 'step')}{reached}), and its "
        f"{done.weights.name} is in {done.weights}: nothing was done. "
        "--resume --force trains it anew."
    )


def run_document(folder: Path, record: Record) -> dict[str, Any]:
    """A full run as plain values."""
    curve = asdict(overfitting(record_points(record)))
    return {"run_folder": str(folder), "record": to_json(record), "curve": curve}
