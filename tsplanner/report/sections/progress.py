"""How far runs have come, for the page that follows them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from memory_models.units import format_gib
from tsplanner.console import command
from tsplanner.probe.stalls import LEAST_SECONDS
from tsplanner.report.page import (
    Block,
    Bullets,
    Charts,
    Figure,
    Figures,
    Heading,
    Original,
    Paragraph,
    Section,
    Text,
    Tone,
    words,
)
from tsplanner.report.records.pace import Pace
from tsplanner.report.records.progress import Progress, State, run_so_far
from tsplanner.report.sections.per_run import curve_chart
from tsplanner.report.sections.search import trials_chart
from tsplanner.report.text import duration, loss, number, percent, seconds
from tsplanner.training.pulse import Phase

PHASES = {
    None: "phase_none",
    Phase.LOAD: "phase_load",
    Phase.STEP: "phase_step",
    Phase.EVALUATE: "phase_evaluate",
    Phase.SAVE: "phase_save",
    Phase.DONE: "phase_done",
}
QUIET = (Phase.LOAD, Phase.SAVE)
"""Pieces of work without a sign of life in them."""
TIMES_STEP = 3.0
"""A silence this many times as long as a step is worth a warning; one of ten times is ended."""
TONES = {State.OVER: Tone.GOOD, State.CUT_OFF: Tone.WARNING, State.FAILED: Tone.REFUSAL}


def progress(found: Sequence[Progress], where: Path, *, drawn: bool) -> Section:
    """A part per run; a sentence where there is none.

    ``drawn``: with the curves of those at work, which no other section of the page has.
    """
    blocks: list[Block] = []
    for each in found:
        blocks += [Heading(text=each.name)] if drawn else []
        blocks += [Paragraph(text=sentence(each), tone=TONES.get(each.state, Tone.PLAIN))]
        blocks += _part(each)
        if drawn and each.state is State.AT_WORK:
            blocks += _charts(each)
    if not found:
        blocks.append(Paragraph(text=words("live_nothing", saves=str(where))))
    return Section(name="progress", heading=words("section_progress"), blocks=tuple(blocks))


def sentence(found: Progress) -> Text:
    """Where a run stands."""
    if found.state is State.NOT_BEGUN:
        return words("live_not_begun", run=found.name)
    if found.state is State.AT_WORK and found.owner is not None:
        owner = found.owner
        return words(
            "live_at_work",
            verb=owner.verb,
            pid=str(owner.process.pid),
            node=owner.process.node,
            since=owner.since_words,
        )
    record = found.record
    if record is None:
        if found.state is State.UNKNOWN:
            return words("left_out_unfinished", run=found.name, detail="")
        return words("live_cut_off", run=found.name, command=_again(found))
    if found.state is State.OVER:
        took = duration(record.timing.seconds)
        return words("live_over", run=found.name, steps=str(record.steps), time=took)
    return words(
        "run_ended",
        run=found.name,
        status=str(record.status),
        message=Original(text=record.message),
    )


def _again(found: Progress) -> str:
    verb = "tune" if found.is_search else "train"
    return command(verb, "--run-folder", found.folder, "--resume")


def _part(found: Progress) -> Iterator[Block]:
    """Of an open run its signs of life, figures and trials; how to go on with one that failed."""
    if found.state is State.FAILED:
        yield Paragraph(text=words("live_again", command=_again(found)))
    if not found.is_open:
        return
    if found.state in (State.AT_WORK, State.UNKNOWN) and found.silent_seconds is not None:
        yield _life(found, found.silent_seconds)
    if found.pace is not None and found.plan is not None:
        yield Figures(items=tuple(_figures(found, found.pace)))
    if found.trials and found.state is State.AT_WORK:
        items = tuple(
            words(
                "live_trial",
                trial=str(trial.number),
                rank=str(trial.rank),
                rate=number(trial.learning_rate),
                epochs=number(trial.epochs),
                step=number(trial.step),
                loss=loss(trial.evaluations[-1][1] if trial.evaluations else None),
            )
            for trial in found.trials
        )
        yield Bullets(items=items)


def _charts(found: Progress) -> Iterator[Block]:
    """The trials of a search and the losses of the full run, as far as they go."""
    run = run_so_far(found)
    if run is None:
        return
    trials = trials_chart(run, words("search_chart", run=run.name))
    items = tuple(chart for chart in (trials, curve_chart([run], run)) if chart is not None)
    if items:
        yield Charts(items=items)


def _life(found: Progress, silent: float) -> Paragraph:
    values: dict[str, Text] = {"phase": words(PHASES[found.phase]), "time": duration(round(silent))}
    if found.is_halted:
        return Paragraph(text=words("live_halted", **values), tone=Tone.WARNING)
    if silent > _limit_seconds(found):
        return Paragraph(text=words("live_silent", **values), tone=Tone.WARNING)
    return Paragraph(text=words("live_moves", **values), tone=Tone.SMALL)


def _limit_seconds(found: Progress) -> float:
    """The longest silence that nobody has to be warned of: loading and saving take their time."""
    if found.phase in QUIET:
        return math.inf
    step = None if found.pace is None else found.pace.step_seconds
    if step is None:
        step = 0.0 if found.plan is None else found.plan.time.step_seconds
    return max(LEAST_SECONDS, TIMES_STEP * step)


def _figures(found: Progress, pace: Pace) -> Iterator[Figure]:
    plan = found.plan
    assert plan is not None
    share = percent(pace.step / max(1, pace.total))
    steps = words("live_share", share=share, epoch=number(pace.epoch))
    of = words("live_of", step=f"{pace.step:,}", total=f"{pace.total:,}")
    yield Figure(label=words("column_steps"), value=of, note=steps)
    if pace.loss is not None or pace.evaluated is not None:
        held_out = words("live_held_out", loss=loss(pace.evaluated))
        yield Figure(label=words("column_loss_last"), value=loss(pace.loss), note=held_out)
    if (step := pace.step_seconds) is not None:
        planned = words("live_planned", value=seconds(plan.time.step_seconds))
        yield Figure(label=words("live_step"), value=seconds(step), note=planned)
    if (tokens := pace.tokens_per_second) is not None:
        yield Figure(label=words("live_tokens"), value=number(tokens), note=words("live_padding"))
    if pace.process_bytes is not None:
        process = plan.memory.process_bytes
        note = words(
            "headline_memory",
            upper=format_gib(process.upper, unit=True),
            expected=format_gib(process.expected, unit=True),
        )
        peak = format_gib(pace.process_bytes, unit=True)
        yield Figure(label=words("live_peak"), value=peak, note=note)
    if (left := pace.seconds_left) is not None and found.state is not State.CUT_OFF:
        planned = words("live_planned_whole", value=duration(plan.time.total_seconds))
        yield Figure(label=words("live_left"), value=duration(left), note=planned)
