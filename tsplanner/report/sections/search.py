"""The search that a run came from: its trials as a table and on one chart."""

from __future__ import annotations

from collections.abc import Sequence

from tsplanner.report.page import (
    Block,
    Charts,
    Column,
    Curve,
    Heading,
    Line,
    LineChart,
    Paragraph,
    Section,
    Table,
    Text,
    Tone,
    words,
)
from tsplanner.report.records.run_record import RunSummary
from tsplanner.report.records.trials import Trial
from tsplanner.report.sections.overview import label
from tsplanner.report.text import loss, number
from tsplanner.training.job import Status

COLUMNS = (
    ("column_trial", False),
    ("column_rank", True),
    ("column_learning_rate", True),
    ("column_epochs", True),
    ("column_seed", True),
    ("column_loss_held_out", True),
    ("column_from_first", True),
    ("column_end", False),
)
ENDS = {
    str(Status.OK): "trial_done",
    str(Status.STOPPED): "trial_stopped",
    str(Status.DEVICE_OOM): "trial_memory",
    str(Status.HOST_OOM): "trial_memory",
    str(Status.TIMEOUT): "trial_timeout",
}
"""Words for how a trial ended; every other status is a failure."""


def searches(runs: Sequence[RunSummary]) -> Section | None:
    """A part per run that a search came before; None if none did."""
    blocks: list[Block] = []
    for run in runs:
        if run.trials:
            blocks += [Heading(text=label(runs, run))] if len(runs) > 1 else []
            blocks += _search(runs, run)
    if not blocks:
        return None
    blocks.append(Paragraph(text=words("search_how"), tone=Tone.SMALL))
    return Section(name="search", heading=words("section_search"), blocks=tuple(blocks))


def _search(runs: Sequence[RunSummary], run: RunSummary) -> list[Block]:
    columns = tuple(Column(heading=words(key), numeric=numeric) for key, numeric in COLUMNS)
    found: list[Block] = [
        Table(columns=columns, rows=tuple(_row(trial, run.trials) for trial in run.trials))
    ]
    chart = trials_chart(run, words("search_chart", run=label(runs, run)))
    return found if chart is None else [*found, Charts(items=(chart,))]


def _row(trial: Trial, trials: tuple[Trial, ...]) -> tuple[Text, ...]:
    best = best_trial(trials)
    first = trials[0].best
    apart = "-" if first is None or trial.best is None else f"{trial.best - first:+.4f}"
    name: Text = str(trial.number)
    if best is not None and trial is best:
        name = words("trial_best", trial=str(trial.number))
    return (
        name,
        number(trial.rank),
        number(trial.learning_rate),
        number(trial.epochs),
        str(trial.seed),
        loss(trial.best),
        apart,
        _end(trial.status),
    )


def _end(status: str | None) -> Text:
    if status is None:
        return words("trial_open")
    return words(ENDS.get(status, "trial_failed"), status=status)


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """The trial with the lowest held-out loss; None: none was evaluated."""
    known = [trial for trial in trials if trial.best is not None]
    return min(known, key=lambda trial: trial.best or 0.0, default=None)


def trials_chart(run: RunSummary, title: Text) -> LineChart | None:
    """Held-out losses of all trials over their steps, the best one marked; None without any."""
    best = best_trial(run.trials)
    if best is None:
        return None
    others = [trial for trial in run.trials if trial.evaluations and trial is not best]
    named = [words("line_trials") if place == 0 else "" for place in range(len(others))]
    curves = [
        Curve(line=Line.TRIAL, label=text, points=trial.evaluations)
        for trial, text in zip(others, named, strict=True)
    ]
    chosen = words("line_best_trial", trial=str(best.number))
    curves.append(Curve(line=Line.HELD_OUT, label=chosen, points=best.evaluations))
    ring = min(best.evaluations, key=lambda point: point[1])
    return LineChart(title=title, curves=tuple(curves), best=ring)
