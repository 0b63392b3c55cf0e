"""Sections that compare runs along an axis, and say why other runs are not compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tsplanner.report.page import (
    Block,
    Bullets,
    Column,
    Paragraph,
    Section,
    Table,
    Text,
    Tone,
    words,
)
from tsplanner.report.records.comparable import (
    Axis,
    Difference,
    Pair,
    Subject,
    apart,
    groups,
    loss_difference,
    pairs,
    refused,
    remarks_of,
)
from tsplanner.report.records.run_record import RunSummary
from tsplanner.report.sections.overview import label
from tsplanner.report.text import loss, number, rate

MOST_ROWS = 20
"""Rows of a table; a reader of hundreds of runs looks at the ends."""
SHOWN = 8
"""Refused pairs that the page names, those nearest to a comparison first; it counts the rest."""

HEADINGS = {
    Axis.HARDWARE: "section_hardware",
    Axis.MODEL: "section_model",
    Axis.QUANTIZATION: "section_quantization",
    Axis.SETTINGS: "section_settings",
}

SPEED_COLUMNS = (
    ("column_run", False),
    ("column_device_speed", True),
    ("column_ratio", True),
    ("column_remarks", False),
)
LOSS_COLUMNS = (
    ("column_run", False),
    ("column_loss_mean", True),
    ("column_loss_last", True),
    ("column_loss_held_out", True),
    ("column_difference", True),
    ("column_remarks", False),
)


def comparison(axis: Axis, runs: Sequence[RunSummary]) -> Section | None:
    """Tables of runs that may be compared along an axis, and sentences about the other runs.

    None where no two runs of one model differ in it: there is nothing to compare.
    """
    if next(apart(axis, runs), None) is None:
        return None
    blocks: list[Block] = []
    for group in groups(axis, Subject.SPEED, runs):
        blocks += _speeds(axis, runs, group)
    for group in groups(axis, Subject.LOSS, runs):
        blocks += _losses(axis, runs, group)
    blocks += _refusals(axis, runs)
    return Section(name=str(axis), heading=words(HEADINGS[axis]), blocks=tuple(blocks))


def _columns(headings: tuple[tuple[str, bool], ...]) -> tuple[Column, ...]:
    return tuple(Column(heading=words(key), numeric=numeric) for key, numeric in headings)


def _named(axis: Axis, runs: Sequence[RunSummary], run: RunSummary) -> Text:
    """A run with the value that the axis is about."""
    rank = "" if run.settings.rank is None else f" r={run.settings.rank}"
    sets_apart = {
        Axis.HARDWARE: run.hardware.label,
        Axis.MODEL: run.model.name,
        Axis.QUANTIZATION: run.model.stored_as,
        Axis.SETTINGS: f"{run.settings.method}{rank}, lr {number(run.settings.learning_rate)}",
    }
    return words("run_and_value", run=label(runs, run), value=sets_apart[axis])


def _speeds(axis: Axis, runs: Sequence[RunSummary], group: list[RunSummary]) -> list[Block]:
    """Samples per second and device, the slowest first, and the ratio to the slowest.

    Of many runs the slowest and the fastest ones are shown.
    """
    order = sorted(group, key=lambda run: run.samples_per_second_and_gpu or 0.0)
    slowest = order[0]
    base = slowest.samples_per_second_and_gpu or 0.0
    rows = []
    for run in [*order[:1], *order[1:][-(MOST_ROWS - 1) :]]:
        speed = run.samples_per_second_and_gpu or 0.0
        apart = remarks_of(axis, Subject.SPEED, slowest, run)
        times = f"{speed / base:.2f}x" if base else "-"
        rows.append((_named(axis, runs, run), rate(speed), times, remarks(apart)))
    return [Table(columns=_columns(SPEED_COLUMNS), rows=tuple(rows)), *_more(len(order))]


def _more(runs: int) -> list[Block]:
    """How many runs of a group a table does not show; nothing if it shows all."""
    hidden = runs - MOST_ROWS
    if hidden <= 0:
        return []
    return [Paragraph(text=words("rows_more", count=str(hidden)), tone=Tone.SMALL)]


def _losses(axis: Axis, runs: Sequence[RunSummary], group: list[RunSummary]) -> list[Block]:
    """Losses of a group, the best first, and the held-out difference from the best."""

    def rank(run: RunSummary) -> tuple[float, ...]:
        return tuple(
            math.inf if value is None else value for value in (run.losses.held_out, run.losses.mean)
        )

    order = sorted(group, key=rank)
    rows = tuple(
        (
            _named(axis, runs, run),
            loss(run.losses.mean),
            loss(run.losses.last),
            loss(run.losses.held_out),
            _behind(order[0], run),
            remarks(remarks_of(axis, Subject.LOSS, order[0], run)),
        )
        for run in order[:MOST_ROWS]
    )
    return [Table(columns=_columns(LOSS_COLUMNS), rows=rows), *_more(len(order))]


def _behind(best: RunSummary, run: RunSummary) -> str:
    compared = None if run is best else loss_difference(best, run)
    if compared is None:
        return "-"
    difference, error = compared
    return f"{difference:+.4f}" + ("" if error is None else f" ± {error:.4f}")


def remarks(found: tuple[Difference, ...]) -> Text:
    """The other differences; a dash for none."""
    return words("list", items=tuple(_difference(one) for one in found)) if found else "-"


def _difference(found: Difference) -> Text:
    if found.one == found.other == words("not_known"):
        return words("difference_unknown", fact=words(found.fact))
    return words("difference", fact=words(found.fact), one=found.one, other=found.other)


def _refusals(axis: Axis, runs: Sequence[RunSummary]) -> list[Block]:
    """One sentence per pair of runs, the pair with the fewest reasons first."""
    nearest, count = refused(axis, runs, SHOWN)
    if not nearest:
        return []
    found = [[pair for pair in pairs(axis, each) if pair.blocking] for each in nearest]
    blocks: list[Block] = [
        Paragraph(text=words("refused_heading")),
        Bullets(items=tuple(_refusal(runs, each) for each in found), tone=Tone.REFUSAL),
    ]
    hidden = count - SHOWN
    if hidden > 0:
        blocks.append(Paragraph(text=words("refused_more", count=str(hidden)), tone=Tone.SMALL))
    return blocks


SUBJECTS = {Subject.SPEED: "refused_speed", Subject.LOSS: "refused_loss"}


def _refusal(runs: Sequence[RunSummary], found: list[Pair]) -> Text:
    first = found[0]
    reasons = tuple(
        words(
            SUBJECTS[pair.subject],
            reasons=words("list", items=tuple(_difference(one) for one in pair.blocking)),
        )
        for pair in found
    )
    return words(
        "refused",
        one=label(runs, first.one),
        other=label(runs, first.other),
        reasons=words("sentences", items=reasons),
    )


def documents(runs: Sequence[RunSummary]) -> list[dict[str, Any]]:
    """Every pair along every axis as plain values, with the keys of the facts that differ."""
    return [
        {
            "axis": str(axis),
            "subject": str(pair.subject),
            "runs": [pair.one.name, pair.other.name],
            "compared": not pair.blocking,
            "differs": [found.fact.removeprefix("fact_") for found in pair.blocking],
            "also_differs": [found.fact.removeprefix("fact_") for found in pair.remarks],
        }
        for axis in Axis
        for pair in pairs(axis, runs)
    ]
