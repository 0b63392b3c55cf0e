"""Facts of runs that a comparison asks for: shared, or how they read for each. Pure.

To add one: a row in ``FACTS``, its words, and its key in the tables of `comparable`.
"""

from __future__ import annotations

from collections.abc import Callable

from tsplanner.report.page import Text, words
from tsplanner.report.records.run_record import RunFacts
from tsplanner.report.text import number
from tsplanner.training.job import Status

SAME_LENGTH = 0.01
"""Mean lengths this far apart, as a share, count as the same: seconds grow with them in step."""

Fact = Callable[[RunFacts, RunFacts], tuple[Text, Text] | None]
"""None: shared; else how it reads for each."""


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
        return words("no_loss")
    return words("names", items=tuple(words(key) for key in keys))


def _ended(one: RunFacts, other: RunFacts) -> tuple[Text, Text] | None:
    if one.status == other.status == Status.OK:
        return None
    return one.status, other.status


def _measured_speed(one: RunFacts, other: RunFacts) -> tuple[Text, Text] | None:
    if one.samples_per_second is not None and other.samples_per_second is not None:
        return None
    return _some(one.samples_per_second), _some(other.samples_per_second)


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
