"""Sections about runs: what this is, results, curves, memory, why these plans, advice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from memory_models.units import GIB
from tsplanner.planner.plan import HardwareSettings, Plan, Verdict
from tsplanner.planner.rules import describe
from tsplanner.report.bars import memory_chart
from tsplanner.report.overfitting import CurveState, CurveVerdict
from tsplanner.report.page import (
    Block,
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
from tsplanner.report.run_facts import LeftOut, RunFacts
from tsplanner.report.text import duration, gib, loss, number, parameters, percent
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
    ("column_best_epoch", True),
    ("column_predicted", True),
    ("column_measured", True),
    ("column_time", True),
)
"""Heading of each column and whether it holds figures."""

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


def label(runs: Sequence[RunFacts], run: RunFacts) -> str:
    """A run by its number in the results table and its name."""
    return run.name if len(runs) == 1 else f"#{runs.index(run) + 1} {run.name}"


def about(
    runs: Sequence[RunFacts], left_out: Sequence[LeftOut], saves: Path, *, when: str, version: str
) -> Section:
    """When and by what the page was made, the machines, the versions, and what is not in it."""
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
    rows += [(words("about_stack"), found) for found in _stacks(own)]
    columns = (Column(heading=words("column_what")), Column(heading=words("column_value")))
    blocks: list[Block] = [Table(columns=columns, rows=tuple(rows))]
    if left_out:
        blocks.append(Paragraph(text=words("left_out"), tone=Tone.WARNING))
        blocks.append(Bullets(items=tuple(_left_out(found) for found in left_out)))
    return Section(name="about", heading=words("section_about"), blocks=tuple(blocks))


def _machines(runs: Iterable[RunFacts]) -> list[str]:
    found: dict[str, None] = {}
    for run in runs:
        if run.plan is None:
            continue
        host = run.plan.machine.host
        words_ = [run.hardware, f"{host.total_bytes / GIB:.0f} GiB RAM"]
        devices = run.plan.machine.devices
        if devices:
            words_.insert(1, f"{devices[0].total_bytes / GIB:.0f} GiB")
        found[" · ".join(words_)] = None
    return list(found)


def _stacks(runs: Iterable[RunFacts]) -> list[str]:
    lines = (", ".join(f"{name} {value}" for name, value in run.versions.items()) for run in runs)
    return list(dict.fromkeys(line for line in lines if line))


def _left_out(found: LeftOut) -> Text:
    return words(found.key, run=found.run, detail=Original(text=found.detail))


def results(runs: Sequence[RunFacts]) -> Section:
    """A run a row; what the losses of a row are, below."""
    columns = tuple(Column(heading=words(key), numeric=numeric) for key, numeric in RESULTS)
    rows = tuple(_result(runs, run) for run in runs)
    table = Table(columns=columns, rows=rows) if len(runs) > 1 else _upright(columns, rows)
    blocks: list[Block] = [table, Paragraph(text=words("results_losses"), tone=Tone.SMALL)]
    ended = [run for run in runs if run.status != Status.OK]
    if ended:
        items = tuple(
            words(
                "run_ended",
                run=label(runs, run),
                status=run.status,
                message=Original(text=run.message),
            )
            for run in ended
        )
        blocks.append(Bullets(items=items, tone=Tone.WARNING))
    return Section(name="results", heading=words("section_results"), blocks=tuple(blocks))


def _upright(columns: tuple[Column, ...], rows: tuple[tuple[Text, ...], ...]) -> Table:
    """One run: its row turned on its side."""
    return Table(
        columns=(Column(heading=words("column_what")), Column(heading=words("column_value"))),
        rows=tuple(
            (column.heading, cell)
            for row in rows
            for column, cell in zip(columns, row, strict=True)
        ),
    )


def _result(runs: Sequence[RunFacts], run: RunFacts) -> tuple[Text, ...]:
    total = run.parameters
    predicted = run.plan.memory.process_bytes.expected if run.plan else None
    return (
        label(runs, run),
        run.model if total is None else f"{run.model} ({parameters(total)})",
        run.method,
        run.base,
        words("on_cpu", device=run.device) if _on_cpu(run) else run.hardware,
        number(run.effective_batch),
        number(run.rank),
        number(run.learning_rate),
        number(run.epochs),
        f"{run.steps:,}",
        number(run.samples_per_second),
        loss(run.mean_loss),
        loss(run.last_loss),
        loss(run.eval_loss),
        number(run.best_epoch),
        gib(predicted, unit=False),
        gib(run.process_bytes, unit=False),
        "-" if run.seconds is None else duration(run.seconds),
    )


def _on_cpu(run: RunFacts) -> bool:
    return run.plan is not None and run.plan.hardware.accelerator == "cpu"


def curves(runs: Sequence[RunFacts]) -> Section | None:
    """One chart a run; runs are not drawn over each other, as that would compare them."""
    charts = [_curve(runs, run) for run in runs if run.training or run.evaluations]
    if not charts:
        return None
    blocks = (
        Paragraph(text=words("curves_how"), tone=Tone.SMALL),
        Charts(items=tuple(charts)),
    )
    return Section(name="curves", heading=words("section_curves"), blocks=blocks)


def _curve(runs: Sequence[RunFacts], run: RunFacts) -> LineChart:
    held_out = Curve(line=Line.HELD_OUT, label=words("line_held_out"), points=run.evaluations)
    training = Curve(line=Line.TRAINING, label=words("line_training"), points=run.training)
    trained = [point for point in run.evaluations if point[0] > 0]
    return LineChart(
        title=label(runs, run),
        curves=tuple(curve for curve in (training, held_out) if curve.points),
        epochs=epoch_ends(run.steps, run.epochs),
        best=min(trained, key=lambda point: point[1], default=None),
    )


def epoch_ends(steps: int, epochs: float) -> tuple[tuple[float, str], ...]:
    """(step, number) at which each whole epoch ended."""
    if epochs <= 0:
        return ()
    whole = int(epochs + 1e-6)
    return tuple((steps * number / epochs, str(number)) for number in range(1, whole + 1))


def memory(runs: Sequence[RunFacts]) -> Section | None:
    """Predicted parts over measured ones, a chart a run."""
    charts = [memory_chart(label(runs, run), run, run.plan) for run in runs if run.plan is not None]
    if not charts:
        return None
    blocks = (
        Paragraph(text=words("memory_how"), tone=Tone.SMALL),
        Charts(items=tuple(charts)),
    )
    return Section(name="memory", heading=words("section_memory"), blocks=blocks)


def plans(runs: Sequence[RunFacts]) -> Section | None:
    """What each plan was, what it promised, and what it rests on."""
    blocks: list[Block] = []
    for run in runs:
        if run.plan is not None:
            blocks += _plan(runs, run, run.plan)
    if not blocks:
        return None
    blocks.insert(0, Paragraph(text=words("plans_how"), tone=Tone.SMALL))
    return Section(name="plans", heading=words("section_plans"), blocks=tuple(blocks))


def _plan(runs: Sequence[RunFacts], run: RunFacts, plan: Plan) -> list[Block]:
    key, tone = VERDICTS[plan.verdict]
    process, time = plan.memory.process_bytes, plan.time
    verdict = words(
        key,
        settings=settings(plan.hardware),
        expected=gib(process.expected),
        upper=gib(process.upper),
        free=gib(plan.free_bytes),
    )
    step = words(
        "plan_step",
        predicted=number(time.step_seconds),
        error=percent(time.relative_error),
        basis=Original(text=time.basis),
        measured=number(run.step_seconds),
    )
    found: list[Block] = [
        Heading(text=label(runs, run)),
        Paragraph(text=verdict, tone=tone),
        Paragraph(text=step),
    ]
    factors = (plan.memory_factor, plan.work_factor, plan.launch_factor)
    if factors != (1.0, 1.0, 1.0):
        memory_, work, launch = (number(factor) for factor in factors)
        text = words("plan_corrected", memory=memory_, work=work, launch=launch)
        found.append(Paragraph(text=text))
    if plan.assumptions:
        found.append(Paragraph(text=words("plan_assumptions")))
        found.append(Bullets(items=tuple(Original(text=note) for note in plan.assumptions)))
    return found


def settings(hardware: HardwareSettings) -> Text:
    """Hardware settings in a line."""
    checkpoints = "checkpoints_off"
    if hardware.gradient_checkpointing:
        some = hardware.checkpointed_layers is not None
        checkpoints = "checkpoints_some" if some else "checkpoints_all"
    return words(
        "plan_settings",
        family=describe(hardware),
        micro=str(hardware.micro_batch_size),
        accumulation=str(hardware.gradient_accumulation_steps),
        effective=str(hardware.effective_batch_size),
        checkpoints=words(checkpoints, layers=str(hardware.checkpointed_layers)),
        loss=words("loss_fused" if hardware.loss_kernel == "fused" else "loss_plain"),
        attention=str(hardware.attention),
    )


def advice(runs: Sequence[RunFacts]) -> Section | None:
    """Where each run should have stopped, and what a search before it decided."""
    blocks: list[Block] = []
    for run in runs:
        if run.plan is None:
            continue
        said = [curve_sentence(run.curve)] if run.curve else []
        blocks += [Heading(text=label(runs, run)), *said]
        if run.remarks:
            blocks.append(Bullets(items=tuple(Original(text=remark) for remark in run.remarks)))
    if not blocks:
        return None
    return Section(name="advice", heading=words("section_advice"), blocks=tuple(blocks))


def records(runs: Sequence[RunFacts]) -> Section | None:
    """Where the records of runs elsewhere contradict arithmetic or themselves."""
    blocks: list[Block] = []
    for run in runs:
        if run.plan is None and run.remarks:
            notes = Bullets(items=tuple(Original(text=remark) for remark in run.remarks))
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
