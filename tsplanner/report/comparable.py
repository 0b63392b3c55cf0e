"""Which runs may be compared, in what, and what keeps the others apart. Pure.

Two runs are compared along one axis (hardware, model size, quantisation) in one subject (loss,
speed). Every other fact that the subject depends on has to be the same; what it depends on little
is told beside the figures. To add a fact: a row in ``FACTS`` and its key in the tables below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

from tsplanner.report.page import Text, words
from tsplanner.report.run_facts import RunFacts
from tsplanner.report.text import number
from tsplanner.training.job import Status
from tsplanner.tune.final import paired_difference

SAME_LENGTH = 0.01
"""Mean lengths this far apart, as a share, count as the same: seconds grow with them in step."""


class Axis(StrEnum):
    """What a comparison is about."""

    HARDWARE = "hardware"
    MODEL = "model"
    QUANTIZATION = "quantization"
    SETTINGS = "settings"
    """Method, rank, learning rate."""


class Subject(StrEnum):
    """What is compared."""

    LOSS = "loss"
    SPEED = "speed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One fact that two runs do not share, as it reads for each."""

    fact: str
    """Key of the fact in the words."""
    one: Text
    other: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two runs beside each other in one subject."""

    subject: Subject
    one: RunFacts
    other: RunFacts
    blocking: tuple[Difference, ...]
    """Why they are not compared; empty: they are."""
    remarks: tuple[Difference, ...]
    """What else differs and matters little."""


def losses_of(run: RunFacts) -> tuple[str, ...]:
    """The definitions of a loss that a run has a figure for."""
    have = {"loss_mean": run.mean_loss, "loss_last": run.last_loss, "loss_held_out": run.eval_loss}
    return tuple(key for key, value in have.items() if value is not None)


def _some(value: object) -> Text:
    if value is None:
        return words("not_known")
    return number(value) if isinstance(value, int | float) else str(value)


def _same(value: Callable[[RunFacts], object]) -> Fact:
    """A fact that has to be equal; two that nobody knows are not."""

    def find(one: RunFacts, other: RunFacts) -> tuple[Text, Text] | None:
        mine, theirs = value(one), value(other)
        return None if mine == theirs and mine is not None else (_some(mine), _some(theirs))

    return find


def _rank(one: RunFacts, other: RunFacts) -> tuple[Text, Text] | None:
    """Methods without adapters have no rank, and then their method is what differs."""
    if one.rank is None and other.rank is None:
        return None
    return _same(lambda run: run.rank)(one, other)


def _lengths(one: RunFacts, other: RunFacts) -> tuple[Text, Text] | None:
    mine, theirs = one.mean_sequence, other.mean_sequence
    if abs(mine - theirs) <= SAME_LENGTH * max(mine, theirs):
        return None
    return number(mine), number(theirs)


def _held_out(one: RunFacts, other: RunFacts) -> tuple[Text, Text] | None:
    """The same rows held out, in the same tokens: by their tokens if known, else by the split."""
    if not one.held_out and not other.held_out:
        return _same(lambda run: run.validation_fraction)(one, other)
    if [count for _, count in one.held_out] == [count for _, count in other.held_out]:
        return None
    return _rows(one), _rows(other)


def _rows(run: RunFacts) -> Text:
    if not run.held_out:
        return words("not_known")
    tokens = sum(count for _, count in run.held_out)
    return words("rows_and_tokens", rows=number(len(run.held_out)), tokens=number(tokens))


def _loss_definition(one: RunFacts, other: RunFacts) -> tuple[Text, Text] | None:
    mine, theirs = losses_of(one), losses_of(other)
    if set(mine) & set(theirs):
        return None
    return _names(mine), _names(theirs)


def _names(keys: tuple[str, ...]) -> Text:
    if not keys:
        return words("not_known")
    return words("list", items=tuple(words(key) for key in keys))


def _ended(one: RunFacts, other: RunFacts) -> tuple[Text, Text] | None:
    if one.status == other.status == Status.OK:
        return None
    return one.status, other.status


def _measured_speed(one: RunFacts, other: RunFacts) -> tuple[Text, Text] | None:
    if one.samples_per_second is not None and other.samples_per_second is not None:
        return None
    return _some(one.samples_per_second), _some(other.samples_per_second)


Fact = Callable[[RunFacts, RunFacts], tuple[Text, Text] | None]
"""None: shared; else how it reads for each."""

FACTS: dict[str, Fact] = {
    "fact_model": _same(lambda run: run.model),
    "fact_quantization": _same(lambda run: run.base),
    "fact_device": _same(lambda run: run.device),
    "fact_gpus": _same(lambda run: run.gpus),
    "fact_sharding": _same(lambda run: run.sharding),
    "fact_method": _same(lambda run: run.method),
    "fact_rank": _rank,
    "fact_dataset": _same(lambda run: run.dataset),
    "fact_rows": _same(lambda run: run.rows_kept),
    "fact_lengths": _lengths,
    "fact_held_out": _held_out,
    "fact_batch": _same(lambda run: run.effective_batch),
    "fact_micro_batch": _same(lambda run: run.micro_batch),
    "fact_steps": _same(lambda run: run.steps),
    "fact_epochs": _same(lambda run: number(run.epochs)),
    "fact_learning_rate": _same(lambda run: run.learning_rate),
    "fact_schedule": _same(lambda run: run.schedule),
    "fact_seed": _same(lambda run: run.seed),
    "fact_loss": _loss_definition,
    "fact_ended": _ended,
    "fact_speed": _measured_speed,
}

ABOUT: dict[Axis, frozenset[str]] = {
    Axis.HARDWARE: frozenset({"fact_device", "fact_gpus"}),
    Axis.MODEL: frozenset({"fact_model"}),
    Axis.QUANTIZATION: frozenset({"fact_quantization"}),
    Axis.SETTINGS: frozenset({"fact_method", "fact_rank", "fact_learning_rate", "fact_schedule"}),
}
"""Facts that an axis is about: they may differ."""

NEEDED: dict[Subject, tuple[str, ...]] = {
    Subject.LOSS: (
        "fact_loss",
        "fact_steps",
        "fact_batch",
        "fact_epochs",
        "fact_dataset",
        "fact_rows",
        "fact_held_out",
        "fact_lengths",
        "fact_model",
        "fact_quantization",
        "fact_method",
        "fact_rank",
        "fact_ended",
    ),
    Subject.SPEED: (
        "fact_speed",
        "fact_lengths",
        "fact_model",
        "fact_quantization",
        "fact_device",
        "fact_sharding",
        "fact_method",
    ),
}
"""Facts that have to be shared, the weightiest first."""

TOLD: dict[Subject, tuple[str, ...]] = {
    Subject.LOSS: ("fact_learning_rate", "fact_schedule", "fact_seed"),
    Subject.SPEED: ("fact_gpus", "fact_rank", "fact_batch", "fact_micro_batch", "fact_rows"),
}
"""Facts that are told where they differ."""

OF_ONE_RATE = frozenset({Axis.HARDWARE, Axis.QUANTIZATION})
"""Where another learning rate makes another run; a larger model is tuned to a rate of its own."""

OF_THE_DATA = ("fact_lengths", "fact_held_out")


def differences(one: RunFacts, other: RunFacts, facts: Iterable[str]) -> tuple[Difference, ...]:
    """The facts of a list that two runs do not share, in the list's order."""
    found = ((fact, FACTS[fact](one, other)) for fact in facts)
    return tuple(
        Difference(fact=fact, one=pair[0], other=pair[1])
        for fact, pair in found
        if pair is not None
    )


def pair_of(axis: Axis, subject: Subject, one: RunFacts, other: RunFacts) -> Pair:
    """Whether two runs may be compared along an axis, and what else sets them apart."""
    open_facts = ABOUT[axis]
    needed = [fact for fact in NEEDED[subject] if fact not in open_facts]
    told = [fact for fact in TOLD[subject] if fact not in open_facts]
    if subject is Subject.LOSS and axis in OF_ONE_RATE:
        needed.append("fact_learning_rate")
        told.remove("fact_learning_rate")
    blocking = differences(one, other, needed)
    if any(found.fact == "fact_dataset" for found in blocking):
        # Other data have other lengths and other held-out rows: one reason is enough.
        blocking = tuple(found for found in blocking if found.fact not in OF_THE_DATA)
    return Pair(
        subject=subject,
        one=one,
        other=other,
        blocking=blocking,
        remarks=differences(one, other, told),
    )


AXIS_VALUE: dict[Axis, Callable[[RunFacts], object]] = {
    Axis.HARDWARE: lambda run: run.hardware,
    Axis.MODEL: lambda run: run.model,
    Axis.QUANTIZATION: lambda run: run.base,
    Axis.SETTINGS: lambda run: (run.method, run.rank, run.learning_rate, run.schedule),
}
"""What has to differ for two runs to be looked at."""

WITHIN: dict[Axis, Callable[[RunFacts], object]] = {
    Axis.HARDWARE: lambda run: run.model,
    Axis.MODEL: lambda run: None,
    Axis.QUANTIZATION: lambda run: run.model,
    Axis.SETTINGS: lambda run: (run.model, run.base, run.hardware, run.sharding),
}
"""What has to be the same for that: across models neither hardware nor storage is the question."""


def pairs(axis: Axis, runs: Sequence[RunFacts]) -> list[Pair]:
    """Speed and loss of any two runs that differ along an axis, in the order of the runs."""
    value, within = AXIS_VALUE[axis], WITHIN[axis]
    return [
        pair_of(axis, subject, one, other)
        for one, other in combinations(runs, 2)
        if value(one) != value(other) and within(one) == within(other)
        for subject in (Subject.SPEED, Subject.LOSS)
    ]


def groups(axis: Axis, subject: Subject, runs: Sequence[RunFacts]) -> list[list[RunFacts]]:
    """Runs that may all be compared with each other, and that differ along the axis."""
    within, found = WITHIN[axis], list[list[RunFacts]]()
    for run in runs:
        for group in found:
            same = within(group[0]) == within(run)
            if same and not any(pair_of(axis, subject, one, run).blocking for one in group):
                group.append(run)
                break
        else:
            found.append([run])
    value = AXIS_VALUE[axis]
    return [group for group in found if len({value(run) for run in group}) > 1]


def remarks_of(
    axis: Axis, subject: Subject, one: RunFacts, other: RunFacts
) -> tuple[Difference, ...]:
    """What else sets two runs of a group apart."""
    return pair_of(axis, subject, one, other).remarks


def loss_difference(one: RunFacts, other: RunFacts) -> tuple[float, float | None] | None:
    """(other's held-out loss minus one's, its standard error if the rows are known); None: none."""
    if one.eval_loss is None or other.eval_loss is None:
        return None
    compared = paired_difference(other.held_out, one.held_out)
    return compared or (other.eval_loss - one.eval_loss, None)
