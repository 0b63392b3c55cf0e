"""Which runs may be compared, in which subject, and why the others may not. Pure.

Two runs are compared along one axis (such as hardware) in one subject (loss or speed). Every other
fact that the subject depends on must be the same. Facts that matter little may differ; the table
then names them next to the figures.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from enum import StrEnum
from functools import cache
from itertools import combinations

from memory_models.frozen import frozen
from tsplanner.report.page import Text
from tsplanner.report.records.facts import FACTS
from tsplanner.report.records.run_record import RunSummary, SettingsSummary
from tsplanner.tune.search.paired_eval import paired_difference


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


@frozen
class Difference:
    """One fact that two runs do not share, as it reads for each."""

    fact: str
    """Key of the fact in the words."""
    one: Text
    other: Text


@frozen
class Pair:
    """Two runs in one subject."""

    subject: Subject
    one: RunSummary
    other: RunSummary
    blocking: tuple[Difference, ...]
    """Why the runs are not compared; empty: the runs are compared."""
    remarks: tuple[Difference, ...]
    """Other differences, which matter little."""


ABOUT: dict[Axis, frozenset[str]] = {
    Axis.HARDWARE: frozenset({"fact_device", "fact_gpus"}),
    Axis.MODEL: frozenset({"fact_model"}),
    Axis.QUANTIZATION: frozenset({"fact_quantization"}),
    Axis.SETTINGS: frozenset(
        {"fact_method", "fact_rank", "fact_learning_rate", "fact_schedule", "fact_pace"}
    ),
}
"""Facts that may differ, because the axis is about them."""

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
"""Facts that must be the same, the most important first."""

NAMED: dict[Subject, tuple[str, ...]] = {
    Subject.LOSS: ("fact_learning_rate", "fact_schedule", "fact_pace", "fact_seed"),
    Subject.SPEED: (
        "fact_gpus",
        "fact_rank",
        "fact_batch",
        "fact_micro_batch",
        "fact_token_budget",
        "fact_rows",
    ),
}
"""Facts that the table names where they differ."""

OF_ONE_RATE = frozenset({Axis.HARDWARE, Axis.QUANTIZATION})
"""Axes along which the learning rate must be the same; models of other sizes have other rates."""

OF_THE_DATA = ("fact_lengths", "fact_held_out")


def differences(one: RunSummary, other: RunSummary, facts: Iterable[str]) -> tuple[Difference, ...]:
    """The facts that two runs do not share, in the order of ``facts``."""
    found = ((fact, FACTS[fact](one, other)) for fact in facts)
    return tuple(
        Difference(fact=fact, one=pair[0], other=pair[1])
        for fact, pair in found
        if pair is not None
    )


@cache
def asked(axis: Axis, subject: Subject) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The facts that must be the same along an axis, and those that the table names."""
    open_facts = ABOUT[axis]
    needed = [fact for fact in NEEDED[subject] if fact not in open_facts]
    named = [fact for fact in NAMED[subject] if fact not in open_facts]
    if subject is Subject.LOSS and axis in OF_ONE_RATE:
        needed.append("fact_learning_rate")
        named.remove("fact_learning_rate")
    return tuple(needed), tuple(named)


def pair_of(axis: Axis, subject: Subject, one: RunSummary, other: RunSummary) -> Pair:
    """Whether two runs may be compared along an axis, and what else sets them apart."""
    needed, named = asked(axis, subject)
    blocking = differences(one, other, needed)
    if any(found.fact == "fact_dataset" for found in blocking):
        # Another dataset also has other lengths and other held-out rows: one reason is enough.
        blocking = tuple(found for found in blocking if found.fact not in OF_THE_DATA)
    return Pair(
        subject=subject,
        one=one,
        other=other,
        blocking=blocking,
        remarks=differences(one, other, named),
    )


class Comparer:
    """Answers for many runs of one axis and subject: runs alike in what is needed answer alike."""

    def __init__(self, axis: Axis, subject: Subject) -> None:
        self.axis, self.subject = axis, subject
        self._kinds: dict[tuple[Hashable, ...], int] = {}
        self._kind_of: dict[int, int] = {}
        self._known: dict[tuple[int, int], int] = {}

    def kind(self, run: RunSummary) -> int:
        """A number that runs share which are alike in all needed facts."""
        kind = self._kind_of.get(id(run))
        if kind is None:
            key = tuple(FACTS[fact].key(run) for fact in asked(self.axis, self.subject)[0])
            kind = self._kind_of[id(run)] = self._kinds.setdefault(key, len(self._kinds))
        return kind

    def reasons(self, one: RunSummary, other: RunSummary) -> int:
        """Number of the facts that keep two runs from being compared."""
        kinds = self.kind(one), self.kind(other)
        if kinds not in self._known:
            self._known[kinds] = len(pair_of(self.axis, self.subject, one, other).blocking)
        return self._known[kinds]


def _learned_with(settings: SettingsSummary) -> tuple[object, ...]:
    return settings.method, settings.rank, settings.learning_rate, settings.schedule


AXIS_VALUE: dict[Axis, Callable[[RunSummary], object]] = {
    Axis.HARDWARE: lambda run: run.hardware.label,
    Axis.MODEL: lambda run: run.model.name,
    Axis.QUANTIZATION: lambda run: run.model.stored_as,
    Axis.SETTINGS: lambda run: _learned_with(run.settings),
}
"""The value that two runs must not share along an axis."""

WITHIN: dict[Axis, Callable[[RunSummary], object]] = {
    Axis.HARDWARE: lambda run: run.model.name,
    Axis.MODEL: lambda run: None,
    Axis.QUANTIZATION: lambda run: run.model.name,
    Axis.SETTINGS: lambda run: (
        run.model.name,
        run.model.stored_as,
        run.hardware.label,
        run.hardware.sharding,
    ),
}
"""The value that two runs must share along an axis; hardware, for one, is compared per model."""


def pairs(axis: Axis, runs: Sequence[RunSummary]) -> list[Pair]:
    """Speed and loss of any two runs that differ along an axis, in the order of the runs."""
    return [
        pair_of(axis, subject, one, other)
        for one, other in apart(axis, runs)
        for subject in (Subject.SPEED, Subject.LOSS)
    ]


def apart(axis: Axis, runs: Sequence[RunSummary]) -> Iterator[tuple[RunSummary, RunSummary]]:
    """Any two runs that differ along an axis, in the order of the runs."""
    value, within = AXIS_VALUE[axis], WITHIN[axis]
    known = [(run, value(run), within(run)) for run in runs]
    for (one, mine, inside), (other, theirs, outside) in combinations(known, 2):
        if mine != theirs and inside == outside:
            yield one, other


def refused(
    axis: Axis, runs: Sequence[RunSummary], most: int
) -> tuple[list[tuple[RunSummary, RunSummary]], int]:
    """The pairs nearest to a comparison that are refused in some subject, and how many there are.

    At most ``most`` pairs are given, those with the fewest reasons first.
    """
    speed, loss = (Comparer(axis, subject) for subject in (Subject.SPEED, Subject.LOSS))
    found = [
        (reasons, one, other)
        for one, other in apart(axis, runs)
        if (reasons := speed.reasons(one, other) + loss.reasons(one, other))
    ]
    nearest = heapq.nsmallest(most, found, key=lambda each: each[0])
    return [(one, other) for _, one, other in nearest], len(found)


def groups(axis: Axis, subject: Subject, runs: Sequence[RunSummary]) -> list[list[RunSummary]]:
    """Runs that may all be compared with each other, and that differ along the axis."""
    within, found, comparer = WITHIN[axis], list[list[RunSummary]](), Comparer(axis, subject)
    alike: list[dict[int, RunSummary]] = []
    """One member of each kind in each group."""
    for run in runs:
        for group, kinds in zip(found, alike, strict=True):
            # That two runs may be compared is not transitive (mean lengths may differ by 1 %), so a
            # run is held against every kind of member of the group.
            same = within(group[0]) == within(run)
            if same and not any(comparer.reasons(one, run) for one in kinds.values()):
                group.append(run)
                kinds.setdefault(comparer.kind(run), run)
                break
        else:
            found.append([run])
            alike.append({comparer.kind(run): run})
    value = AXIS_VALUE[axis]
    return [group for group in found if len({value(run) for run in group}) > 1]


def remarks_of(
    axis: Axis, subject: Subject, one: RunSummary, other: RunSummary
) -> tuple[Difference, ...]:
    """What else sets two runs of a group apart."""
    return pair_of(axis, subject, one, other).remarks


def loss_difference(one: RunSummary, other: RunSummary) -> tuple[float, float | None] | None:
    """(Held-out loss of ``other`` minus that of ``one``, standard error if the rows are known).

    Without two held-out losses: None.
    """
    mine, theirs = one.losses, other.losses
    if mine.held_out is None or theirs.held_out is None:
        return None
    compared = paired_difference(theirs.held_out_rows, mine.held_out_rows)
    return compared or (theirs.held_out - mine.held_out, None)
