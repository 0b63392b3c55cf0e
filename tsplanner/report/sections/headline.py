"""The first thing on the page: the few figures that a reader came for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from memory_models.units import format_gib
from tsplanner.report.page import Figure, Figures, Section, Text, words
from tsplanner.report.records.run_record import RunSummary
from tsplanner.report.sections.overview import label
from tsplanner.report.text import duration, loss, number

SECONDS_PER_HOUR = 3600


def headline(runs: Sequence[RunSummary]) -> Section | None:
    """The best run of the model and dataset that most runs here trained; None without a loss."""
    best = best_run(runs)
    if best is None:
        return None
    figures = [_loss(runs, best), _memory(best), _time(best), _hours(best)]
    items = tuple(figure for figure in figures if figure is not None)
    heading = words("section_headline", model=best.model.name, dataset=best.dataset.name)
    return Section(name="headline", heading=heading, blocks=(Figures(items=items),))


def best_run(runs: Sequence[RunSummary]) -> RunSummary | None:
    """The run with the lowest held-out loss among those that were trained here on the same rows.

    Losses of other models or rows are no better or worse than these.
    """
    own = [run for run in runs if run.plan is not None and run.losses.held_out is not None]
    if not own:
        return None
    counts = Counter(_task(run) for run in own)
    most = max(counts, key=counts.__getitem__)
    alike = [run for run in own if _task(run) == most]
    return min(alike, key=lambda run: run.losses.held_out or 0.0)


def _task(run: RunSummary) -> tuple[str, str, int]:
    return run.model.name, run.dataset.name, run.dataset.rows_kept


def _loss(runs: Sequence[RunSummary], run: RunSummary) -> Figure:
    untrained = [value for step, value in run.curves.evaluations if step == 0]
    key = "headline_loss_from" if untrained else "headline_loss"
    note = words(
        key,
        run=label(runs, run),
        start=loss(untrained[0] if untrained else None),
        epoch=number(run.losses.best_epoch),
    )
    return Figure(label=words("column_loss_held_out"), value=loss(run.losses.held_out), note=note)


def _memory(run: RunSummary) -> Figure | None:
    if run.plan is None or run.memory.process_bytes is None:
        return None
    process = run.plan.memory.process_bytes
    note = words(
        "headline_memory",
        upper=format_gib(process.upper, unit=True),
        expected=format_gib(process.expected, unit=True),
    )
    measured = format_gib(run.memory.process_bytes, unit=True)
    key = "headline_peak_cpu" if run.hardware.on_cpu else "headline_peak"
    return Figure(label=words(key), value=measured, note=note)


def _time(run: RunSummary) -> Figure | None:
    if run.plan is None or run.outcome.seconds is None:
        return None
    planned: Text = duration(run.plan.time.total_seconds)
    note = words("headline_time", steps=f"{run.outcome.steps:,}", planned=planned)
    return Figure(label=words("column_time"), value=duration(run.outcome.seconds), note=note)


def _hours(run: RunSummary) -> Figure | None:
    """What a price is multiplied by; a CPU has none."""
    if run.outcome.seconds is None or run.hardware.on_cpu:
        return None
    hours = run.outcome.seconds * run.hardware.gpus / SECONDS_PER_HOUR
    note = words("headline_hours", hardware=run.hardware.label)
    return Figure(label=words("headline_cost"), value=f"{hours:.3g} h", note=note)
