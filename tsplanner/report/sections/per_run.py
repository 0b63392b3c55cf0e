"""Sections with a part per run: curves, memory, why these plans, advice, records."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from memory_models.settings import BatchLayout, flat
from memory_models.units import format_gib
from tsplanner.planner.explain.sentences import (
    CHINESE,
    ENGLISH,
    LANGUAGES,
    describe,
    difference_words,
    explanation_sentence,
)
from tsplanner.planner.plan import Alternative, Plan, Verdict
from tsplanner.planner.settings import HardwareSettings
from tsplanner.report.page import (
    Block,
    Both,
    Bullets,
    Charts,
    Column,
    Curve,
    Heading,
    Line,
    LineChart,
    Original,
    Paragraph,
    Section,
    Table,
    Text,
    Tone,
    words,
)
from tsplanner.report.records.overfitting import CurveState, CurveVerdict
from tsplanner.report.records.run_record import RunSummary
from tsplanner.report.render.memory_bars import memory_chart
from tsplanner.report.sections.overview import label
from tsplanner.report.text import loss, number, percent

MOST_DETAILED = 40
"""Runs with charts and a plan of their own on one page, which stays below a megabyte."""

VERDICTS = {
    Verdict.FITS: ("verdict_fits", Tone.GOOD),
    Verdict.TIGHT: ("verdict_tight", Tone.WARNING),
    Verdict.DOES_NOT_FIT: ("verdict_does_not_fit", Tone.REFUSAL),
}

CURVE_WORDS = {
    CurveState.TOO_FEW: ("curve_too_few", Tone.PLAIN),
    CurveState.FALLING: ("curve_falling", Tone.PLAIN),
    CurveState.LEVEL: ("curve_level", Tone.GOOD),
    CurveState.OVERFITTING: ("curve_overfitting", Tone.WARNING),
    CurveState.OSCILLATING: ("curve_oscillating", Tone.WARNING),
}


def detailed(runs: Sequence[RunSummary]) -> Sequence[RunSummary]:
    """The runs that have a part of their own on the page: all, or the best of very many."""
    if len(runs) <= MOST_DETAILED:
        return runs
    losses = [math.inf if run.losses.held_out is None else run.losses.held_out for run in runs]
    best = sorted(range(len(runs)), key=losses.__getitem__)[:MOST_DETAILED]
    return [runs[place] for place in sorted(best)]


def _section(
    name: str, heading: Text, runs: Sequence[RunSummary], blocks: Iterable[Block]
) -> Section:
    """A section with a part per run, and a sentence where it does not show all of them."""
    shown = len(detailed(runs))
    some = words("some_runs", shown=str(shown), all=str(len(runs)))
    note = [Paragraph(text=some, tone=Tone.SMALL)] if shown < len(runs) else []
    return Section(name=name, heading=heading, blocks=(*note, *blocks))


def curves(runs: Sequence[RunSummary]) -> Section | None:
    """One chart per run; two runs in one chart would invite a comparison."""
    charts = [chart for run in detailed(runs) if (chart := curve_chart(runs, run)) is not None]
    if not charts:
        return None
    blocks = (
        Paragraph(text=words("curves_how"), tone=Tone.SMALL),
        Charts(items=tuple(charts)),
    )
    return _section("curves", words("section_curves"), runs, blocks)


def curve_chart(runs: Sequence[RunSummary], run: RunSummary) -> LineChart | None:
    """The losses of one run over its steps; None if none were written."""
    losses, evaluations = run.curves.training, run.curves.evaluations
    if not any(step > 0 for step, _ in (*losses, *evaluations)):
        return None
    held_out = Curve(line=Line.HELD_OUT, label=words("line_held_out"), points=evaluations)
    training = Curve(line=Line.TRAINING, label=words("line_training"), points=losses)
    # The evaluation before the first step is of the untrained model, which is no epoch to stop at.
    trained = [point for point in evaluations if point[0] > 0]
    return LineChart(
        title=label(runs, run),
        curves=tuple(curve for curve in (training, held_out) if curve.points),
        epochs=epoch_ends(run.outcome.steps, run.outcome.epochs),
        best=min(trained, key=lambda point: point[1], default=None),
    )


MOST_EPOCHS = 1000
"""Ends of epochs that a chart marks: nobody sees more of them apart."""


def epoch_ends(steps: int, epochs: float) -> tuple[tuple[float, str], ...]:
    """(step, number) at which each whole epoch ended."""
    if epochs <= 0:
        return ()
    # The epochs of a finished run may come out a little low.
    whole = min(int(epochs + 1e-6), MOST_EPOCHS)
    return tuple((steps * number / epochs, str(number)) for number in range(1, whole + 1))


def memory(runs: Sequence[RunSummary]) -> Section | None:
    """Predicted parts above measured ones, in one chart per run."""
    charts = [
        memory_chart(label(runs, run), run, run.plan)
        for run in detailed(runs)
        if run.plan is not None
    ]
    if not charts:
        return None
    blocks = (
        Paragraph(text=words("memory_how"), tone=Tone.SMALL),
        Charts(items=tuple(charts)),
    )
    return _section("memory", words("section_memory"), runs, blocks)


def plans(runs: Sequence[RunSummary]) -> Section | None:
    """The settings, predictions and assumptions of each plan."""
    blocks: list[Block] = []
    for run in detailed(runs):
        if run.plan is not None:
            blocks += _plan(runs, run, run.plan)
    if not blocks:
        return None
    return _section("plans", words("section_plans"), runs, blocks)


def _plan(runs: Sequence[RunSummary], run: RunSummary, plan: Plan) -> list[Block]:
    key, tone = VERDICTS[plan.verdict]
    process, time = plan.memory.process_bytes, plan.time
    verdict = words(
        key,
        settings=settings(plan.hardware),
        expected=format_gib(process.expected, unit=True),
        upper=format_gib(process.upper, unit=True),
        free=format_gib(plan.free_bytes, unit=True),
    )
    step = words(
        "plan_step_alone" if run.outcome.step_seconds is None else "plan_step",
        predicted=number(time.step_seconds),
        error=percent(time.relative_error),
        basis=Original(text=time.basis),
        measured=number(run.outcome.step_seconds),
    )
    found: list[Block] = [
        Heading(text=label(runs, run)),
        Paragraph(text=verdict, tone=tone),
        Paragraph(text=step),
    ]
    factors = (
        plan.corrections.memory_factor,
        plan.corrections.work_factor,
        plan.corrections.launch_factor,
    )
    if factors != (1.0, 1.0, 1.0):
        memory_, work, launch = (number(factor) for factor in factors)
        text = words("plan_corrected", memory=memory_, work=work, launch=launch)
        found.append(Paragraph(text=text))
    if plan.assumptions:
        found.append(Paragraph(text=words("plan_assumptions")))
        found.append(Bullets(items=tuple(Original(text=note) for note in plan.assumptions)))
    return [*found, *_alternatives(plan)]


ALTERNATIVES = (
    ("column_setting", False),
    ("column_peak_bound", True),
    ("column_relative_speed", True),
    ("column_why_not", False),
)


def _alternatives(plan: Plan) -> list[Block]:
    """What else was possible, and why it was not taken."""
    if not plan.alternatives:
        return []
    columns = tuple(Column(heading=words(key), numeric=numeric) for key, numeric in ALTERNATIVES)
    rows = tuple(_alternative(row, plan) for row in plan.alternatives)
    return [Paragraph(text=words("plan_alternatives")), Table(columns=columns, rows=rows)]


def _alternative(row: Alternative, plan: Plan) -> tuple[Text, ...]:
    differs, why = (
        Both(english=found[ENGLISH], chinese=found[CHINESE])
        for found in (
            {code: difference_words(row.hardware, plan.hardware, code) for code in LANGUAGES},
            {code: explanation_sentence(row.explanation, code) for code in LANGUAGES},
        )
    )
    peak = f"{format_gib(row.process_bytes.expected)} ({format_gib(row.process_bytes.upper)})"
    return differs, peak, f"{row.relative_speed:.2f}x", why


def learning(run: RunSummary) -> Section | None:
    """The learning settings of one run, by their names in plan.json."""
    if run.plan is None:
        return None
    columns = (Column(heading=words("column_what")), Column(heading=words("column_value")))
    values = flat(run.plan.learning)
    del values["adapter_ranks"]  # of a worker that several trials share, not of what was learned
    rows = tuple((key, str(value)) for key, value in values.items())
    return Section(
        name="learning",
        heading=words("section_learning"),
        blocks=(Table(columns=columns, rows=rows),),
    )


def settings(hardware: HardwareSettings) -> Text:
    """Hardware settings in one line."""
    checkpoints = "checkpoints_off"
    if hardware.batch.gradient_checkpointing:
        some = hardware.batch.checkpointed_layers is not None
        checkpoints = "checkpoints_some" if some else "checkpoints_all"
    return words(
        "plan_settings",
        family=Both(english=describe(hardware), chinese=describe(hardware, CHINESE)),
        layout=_layout(hardware.batch),
        effective=str(hardware.effective_batch_size),
        checkpoints=words(checkpoints, layers=str(hardware.batch.checkpointed_layers)),
        loss=words("loss_fused" if hardware.kernels.loss_kernel == "fused" else "loss_plain"),
        attention=str(hardware.kernels.attention),
    )


def _layout(batch: BatchLayout) -> Text:
    """How the rows of a step go through the model."""
    return words(
        "layout_packed" if batch.is_packed else "layout_padded",
        budget=f"{batch.token_budget or 0:,}",
        micro=str(batch.micro_batch_size),
        accumulation=str(batch.gradient_accumulation_steps),
    )


def remark_list(run: RunSummary) -> Bullets:
    """The sentences on a run."""
    return Bullets(
        items=tuple(
            Original(text=remark) if isinstance(remark, str) else remark for remark in run.remarks
        )
    )


def advice(runs: Sequence[RunSummary]) -> Section | None:
    """Where each run should have stopped, and what a search before it decided."""
    blocks: list[Block] = []
    for run in detailed(runs):
        if run.plan is None:
            continue
        said = [curve_sentence(run.curves.verdict)] if run.curves.verdict else []
        blocks += [Heading(text=label(runs, run)), *said]
        if run.remarks:
            blocks.append(remark_list(run))
    if not blocks:
        return None
    return _section("advice", words("section_advice"), runs, blocks)


def records(runs: Sequence[RunSummary]) -> Section | None:
    """Where the records of runs elsewhere contradict arithmetic or themselves."""
    blocks: list[Block] = []
    for run in runs:
        if run.plan is None and run.remarks:
            notes = remark_list(run)
            blocks += [Heading(text=label(runs, run)), notes]
    if not blocks:
        return None
    return Section(name="records", heading=words("section_records"), blocks=tuple(blocks))


def curve_sentence(verdict: CurveVerdict) -> Paragraph:
    """What a held-out curve says, with the epoch to stop at."""
    if verdict.best_loss is None:
        return Paragraph(text=words("curve_none"))
    key, tone = CURVE_WORDS[verdict.state]
    text = words(
        key,
        loss=loss(verdict.best_loss),
        epoch=number(verdict.best_epoch),
        rise=loss(verdict.rise),
        swing=loss(verdict.swing),
    )
    return Paragraph(text=text, tone=tone)
