"""Facts that two runs share, or that read differently for each of them. Pure.

To add a fact, add a row to ``FACTS``, a message, and its key to the tables of `comparable`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from memory_models.frozen import frozen
from tsplanner.report.page import Text, words
from tsplanner.report.records.run_record import RunSummary
from tsplanner.report.text import number
from tsplanner.training.job import Status
from tsplanner.tune.search.paired_eval import PerExampleLosses

SAME_LENGTH = 0.01
"""Mean lengths that differ by at most this share count as the same."""

Differ = Callable[[RunSummary, RunSummary], tuple[Text, Text] | None]
"""None: both runs share the fact; otherwise the words for each run."""


@frozen
class Fact:
    """A fact of a run, and how two runs are held against each other in it."""

    key: Callable[[RunSummary], Hashable]
    """What decides, for each run, whether two runs share the fact."""
    differ: Differ

    def __call__(self, one: RunSummary, other: RunSummary) -> tuple[Text, Text] | None:
        """The words for each run; None: both share the fact."""
        return self.differ(one, other)


def losses_of(run: RunSummary) -> tuple[str, ...]:
    """The definitions of a loss for which a run has a figure."""
    losses = run.losses
    have = {
        "loss_mean": losses.mean,
        "loss_last": losses.last,
        "loss_held_out": losses.held_out,
    }
    return tuple(key for key, value in have.items() if value is not None)


def _some(value: object) -> Text:
    if value is None:
        return words("not_known")
    return number(value) if isinstance(value, int | float) else str(value)


def _same(value: Callable[[RunSummary], Hashable]) -> Fact:
    """A fact that must be equal; two unknown values are not equal."""

    def find(one: RunSummary, other: RunSummary) -> tuple[Text, Text] | None:
        mine, theirs = value(one), value(other)
        return None if mine == theirs and mine is not None else (_some(mine), _some(theirs))

    return Fact(key=value, differ=find)


def _rank(one: RunSummary, other: RunSummary) -> tuple[Text, Text] | None:
    """The rank, which two methods without adapters do not have."""
    if one.settings.rank is None and other.settings.rank is None:
        return None
    return _same(lambda run: run.settings.rank)(one, other)


def _pace(one: RunSummary, other: RunSummary) -> tuple[Text, Text] | None:
    found = _same(lambda run: run.settings.pace)(one, other)
    if found is None:
        return None
    mine, theirs = (words("pace_default") if text == "" else text for text in found)
    return mine, theirs


def _lengths(one: RunSummary, other: RunSummary) -> tuple[Text, Text] | None:
    mine, theirs = one.dataset.mean_sequence, other.dataset.mean_sequence
    if abs(mine - theirs) <= SAME_LENGTH * max(mine, theirs):
        return None
    return number(mine), number(theirs)


def _held_out(one: RunSummary, other: RunSummary) -> tuple[Text, Text] | None:
    """The held-out rows, by their tokens if these are known, otherwise by the split."""
    mine, theirs = one.losses.held_out_rows, other.losses.held_out_rows
    if not mine and not theirs:
        return _same(lambda run: run.dataset.validation_fraction)(one, other)
    if [count for _, count in mine] == [count for _, count in theirs]:
        return None
    return _rows(mine), _rows(theirs)


def _held_out_key(run: RunSummary) -> Hashable:
    counts = tuple(count for _, count in run.losses.held_out_rows)
    return counts, run.dataset.validation_fraction


def _rows(rows: PerExampleLosses) -> Text:
    if not rows:
        return words("not_known")
    tokens = sum(count for _, count in rows)
    return words("rows_and_tokens", rows=number(len(rows)), tokens=number(tokens))


def _loss_definition(one: RunSummary, other: RunSummary) -> tuple[Text, Text] | None:
    mine, theirs = losses_of(one), losses_of(other)
    if set(mine) & set(theirs):
        return None
    return _names(mine), _names(theirs)


def _names(keys: tuple[str, ...]) -> Text:
    if not keys:
        return words("no_loss")
    return words("names", items=tuple(words(key) for key in keys))


def _ended(one: RunSummary, other: RunSummary) -> tuple[Text, Text] | None:
    if one.outcome.status == other.outcome.status == Status.OK:
        return None
    return one.outcome.status, other.outcome.status


def _measured_speed(one: RunSummary, other: RunSummary) -> tuple[Text, Text] | None:
    mine, theirs = one.outcome.samples_per_second, other.outcome.samples_per_second
    return None if mine is not None and theirs is not None else (_some(mine), _some(theirs))


FACTS: dict[str, Fact] = {
    "fact_model": _same(lambda run: run.model.name),
    "fact_quantization": _same(lambda run: run.model.stored_as),
    "fact_device": _same(lambda run: run.hardware.device),
    "fact_gpus": _same(lambda run: run.hardware.gpus),
    "fact_sharding": _same(lambda run: run.hardware.sharding),
    "fact_method": _same(lambda run: run.settings.method),
    "fact_rank": Fact(key=lambda run: run.settings.rank, differ=_rank),
    "fact_dataset": _same(lambda run: run.dataset.name),
    "fact_rows": _same(lambda run: run.dataset.rows_kept),
    "fact_lengths": Fact(key=lambda run: run.dataset.mean_sequence, differ=_lengths),
    "fact_held_out": Fact(key=_held_out_key, differ=_held_out),
    "fact_batch": _same(lambda run: run.settings.effective_batch),
    "fact_micro_batch": _same(lambda run: run.settings.micro_batch),
    "fact_token_budget": _same(lambda run: run.settings.token_budget or "none"),
    "fact_steps": _same(lambda run: run.outcome.steps),
    # Epochs are fractions that come from steps, so they are compared as they are printed.
    "fact_epochs": _same(lambda run: number(run.outcome.epochs)),
    "fact_learning_rate": _same(lambda run: run.settings.learning_rate),
    "fact_schedule": _same(lambda run: run.settings.schedule),
    "fact_pace": Fact(key=lambda run: run.settings.pace, differ=_pace),
    "fact_seed": _same(lambda run: run.settings.seed),
    "fact_loss": Fact(key=losses_of, differ=_loss_definition),
    "fact_ended": Fact(key=lambda run: run.outcome.status, differ=_ended),
    "fact_speed": Fact(
        key=lambda run: run.outcome.samples_per_second is None, differ=_measured_speed
    ),
}
