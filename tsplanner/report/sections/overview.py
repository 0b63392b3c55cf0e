"""The first sections: the results of all runs, and what the page is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import compress
from pathlib import Path

from memory_models.units import GIB, format_gib
from tsplanner.report.page import (
    Block,
    Bullets,
    Column,
    Original,
    Paragraph,
    Section,
    Table,
    Text,
    Tone,
    words,
)
from tsplanner.report.records.run_record import LeftOut, RunSummary
from tsplanner.report.text import duration, loss, number, parameters, rate
from tsplanner.training.job import Status

RESULTS: tuple[tuple[str, bool], ...] = (
    ("column_run", False),
    ("column_model", False),
    ("column_method", False),
    ("column_base", False),
    ("column_hardware", False),
    ("column_batch", True),
    ("column_rank", True),
    ("column_learning_rate", True),
    ("column_epochs", True),
    ("column_steps", True),
    ("column_speed", True),
    ("column_loss_mean", True),
    ("column_loss_last", True),
    ("column_loss_held_out", True),
    ("column_values", True),
    ("column_best_epoch", True),
    ("column_predicted", True),
    ("column_measured", True),
    ("column_time", True),
)
"""Heading of each column, and whether the column holds figures."""


def label(runs: Sequence[RunSummary], run: RunSummary) -> str:
    """A run by its number in the results table and its name."""
    if len(runs) == 1:
        return run.name
    # Identity, not equality: to compare whole runs takes longer than all else on a large page.
    place = next(number for number, each in enumerate(runs, 1) if each is run)
    return f"#{place} {run.name}"


def about(
    runs: Sequence[RunSummary], left_out: Sequence[LeftOut], saves: Path, *, when: str, version: str
) -> Section:
    """When and how the page was made, the machines, the versions, and the runs left out."""
    own = [run for run in runs if run.plan is not None]
    rows: list[tuple[Text, ...]] = [
        (words("about_when"), when),
        (words("about_version"), f"tsplanner {version}"),
        (words("about_folder"), str(saves)),
        (
            words("about_runs"),
            words("about_counts", own=str(len(own)), recorded=str(len(runs) - len(own))),
        ),
    ]
    rows += [(words("about_machine"), found) for found in _machines(own)]
    rows += [(words("about_packages"), found) for found in _package_versions(own)]
    columns = (Column(heading=words("column_what")), Column(heading=words("column_value")))
    blocks: list[Block] = [Table(columns=columns, rows=tuple(rows))]
    if left_out:
        blocks.append(Paragraph(text=words("left_out"), tone=Tone.WARNING))
        blocks.append(Bullets(items=tuple(left_out_words(found) for found in left_out)))
    return Section(name="about", heading=words("section_about"), blocks=tuple(blocks))


def _machines(runs: Iterable[RunSummary]) -> list[str]:
    found: dict[str, None] = {}
    for run in runs:
        if run.plan is None:
            continue
        host = run.plan.machine.host
        words_ = [run.hardware.label, f"{host.total_bytes / GIB:.0f} GiB RAM"]
        devices = run.plan.machine.devices
        if devices:
            words_.insert(1, f"{devices[0].total_bytes / GIB:.0f} GiB")
        found[" · ".join(words_)] = None
    return list(found)


def _package_versions(runs: Iterable[RunSummary]) -> list[str]:
    lines = (", ".join(f"{name} {value}" for name, value in run.versions.items()) for run in runs)
    return list(dict.fromkeys(line for line in lines if line))


def left_out_words(found: LeftOut) -> Text:
    """A run that has no row, and why."""
    return words(found.key, run=found.run, detail=Original(text=found.detail))


def results(runs: Sequence[RunSummary]) -> Section:
    """One row per run, and a sentence about the losses in a row."""
    checked = any(run.losses.values is not None for run in runs)
    shown = [checked or key != "column_values" for key, _ in RESULTS]
    columns = tuple(
        Column(heading=words(key), numeric=numeric) for key, numeric in compress(RESULTS, shown)
    )
    rows = tuple(tuple(compress(_result(runs, run), shown)) for run in runs)
    table = Table(columns=columns, rows=rows) if len(runs) > 1 else _upright(columns, rows)
    blocks: list[Block] = [table, Paragraph(text=words("results_losses"), tone=Tone.SMALL)]
    if drawn := [run for run in runs if run.random_weights]:
        found = tuple(
            words(
                "run_random_weights",
                run=label(runs, run),
                why=Original(text=run.random_weights or ""),
            )
            for run in drawn
        )
        blocks.insert(1, Bullets(items=found, tone=Tone.REFUSAL))
    ended = [run for run in runs if run.outcome.status != Status.OK]
    if ended:
        items = tuple(
            words(
                "run_ended",
                run=label(runs, run),
                status=run.outcome.status,
                message=Original(text=run.outcome.message),
            )
            for run in ended
        )
        blocks.append(Bullets(items=items, tone=Tone.WARNING))
    early = tuple(sentence for run in runs if (sentence := _early(runs, run)) is not None)
    if early:
        blocks.append(Bullets(items=early))
    return Section(name="results", heading=words("section_results"), blocks=tuple(blocks))


def _early(runs: Sequence[RunSummary], run: RunSummary) -> Text | None:
    """That a run ended before its last step, as it was asked to; None: it did not."""
    plan = run.plan
    patience = None if plan is None else plan.learning.cadence.early_stopping_patience
    if plan is None or patience is None or run.outcome.status != Status.OK:
        return None
    if run.outcome.steps >= plan.time.total_steps:
        return None
    return words(
        "run_early",
        run=label(runs, run),
        steps=str(run.outcome.steps),
        planned=str(plan.time.total_steps),
        patience=str(patience),
    )


def _upright(columns: tuple[Column, ...], rows: tuple[tuple[Text, ...], ...]) -> Table:
    """The row of a single run, turned into a column."""
    return Table(
        columns=(Column(heading=words("column_what")), Column(heading=words("column_value"))),
        rows=tuple(
            (column.heading, cell)
            for row in rows
            for column, cell in zip(columns, row, strict=True)
        ),
    )


def _result(runs: Sequence[RunSummary], run: RunSummary) -> tuple[Text, ...]:
    total = run.model.parameters
    predicted = run.plan.memory.process_bytes.expected if run.plan else None
    return (
        label(runs, run),
        run.model.name if total is None else f"{run.model.name} ({parameters(total)})",
        run.settings.method,
        run.model.stored_as,
        words("on_cpu", device=run.hardware.device) if run.hardware.on_cpu else run.hardware.label,
        number(run.settings.effective_batch),
        number(run.settings.rank),
        number(run.settings.learning_rate),
        number(run.outcome.epochs),
        f"{run.outcome.steps:,}",
        rate(run.outcome.samples_per_second),
        loss(run.losses.mean),
        loss(run.losses.last),
        loss(run.losses.held_out),
        _values(run),
        number(run.losses.best_epoch),
        format_gib(predicted),
        format_gib(run.memory.process_bytes),
        "-" if run.outcome.seconds is None else duration(run.outcome.seconds),
    )


def _values(run: RunSummary) -> Text:
    """Answers to held-out rows in which every value that was checked is right."""
    found = run.losses.values
    if found is None:
        return "-"
    return words("values_right", right=str(found.right), answers=str(found.answers))
