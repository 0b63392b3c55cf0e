"""What keeps two runs from being compared."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.hand_made import HELD_OUT, summary
from tsplanner.report.messages.translate import Language, translate
from tsplanner.report.records.comparable import Axis, Comparer, Subject, groups, pair_of, refused

LOSS, SPEED = Subject.LOSS, Subject.SPEED

LOSS_BLOCKS: list[tuple[str, dict[str, Any]]] = [
    ("fact_loss", {"mean_loss": None, "last_loss": None, "eval_loss": None}),
    ("fact_steps", {"steps": 156}),
    ("fact_batch", {"effective_batch": 8}),
    ("fact_epochs", {"epochs": 5.0}),
    ("fact_dataset", {"dataset": "others"}),
    ("fact_rows", {"rows_kept": 414}),
    ("fact_held_out", {"held_out": HELD_OUT[:4]}),
    ("fact_held_out", {"held_out": []}),
    ("fact_lengths", {"mean_sequence": 1100.0}),
    ("fact_quantization", {"quantization": "nf4"}),
    ("fact_method", {"method": "dora"}),
    ("fact_rank", {"rank": 16}),
    ("fact_learning_rate", {"learning_rate": 1e-4}),
    ("fact_learning_rate", {"learning_rate": None}),
    ("fact_ended", {"status": "timeout"}),
]
SPEED_BLOCKS: list[tuple[str, dict[str, Any]]] = [
    ("fact_speed", {"samples_per_second": None}),
    ("fact_lengths", {"mean_sequence": 900.0}),
    ("fact_quantization", {"quantization": "nf4"}),
    ("fact_sharding", {"sharding": "ZeRO-3 + param offload"}),
    ("fact_method", {"method": "full", "rank": None}),
]
SPEED_ALLOWS: list[tuple[str, dict[str, Any]]] = [
    ("fact_batch", {"effective_batch": 8}),
    ("fact_micro_batch", {"micro_batch": 1}),
    ("fact_rank", {"rank": 16}),
    ("fact_rows", {"rows_kept": 414}),
]


def blocking(axis: Axis, subject: Subject, **changes: Any) -> list[str]:
    """Why a changed run on another card is not compared with the plain one."""
    other = summary("b", **({"device": "Card Y"} | changes))
    return [found.fact for found in pair_of(axis, subject, summary(), other).blocking]


def test_runs_that_differ_in_the_card_alone_are_compared() -> None:
    """Hardware moves neither the data nor the steps: loss and speed are both compared."""
    assert blocking(Axis.HARDWARE, LOSS) == []
    assert blocking(Axis.HARDWARE, SPEED) == []
    assert blocking(Axis.HARDWARE, SPEED, gpus=1) == []


@pytest.mark.parametrize(("fact", "changes"), LOSS_BLOCKS)
def test_losses_are_not_compared_over(fact: str, changes: dict[str, Any]) -> None:
    """Each of these alone makes two losses two different things."""
    assert blocking(Axis.HARDWARE, LOSS, **changes) == [fact]


@pytest.mark.parametrize(("fact", "changes"), SPEED_BLOCKS)
def test_speeds_are_not_compared_over(fact: str, changes: dict[str, Any]) -> None:
    """Samples of another length, or sharded and offloaded ones, are another work."""
    assert blocking(Axis.HARDWARE, SPEED, **changes) == [fact]


@pytest.mark.parametrize(("fact", "changes"), SPEED_ALLOWS)
def test_speeds_are_compared_over_and_named(fact: str, changes: dict[str, Any]) -> None:
    """On the same lengths samples a second do not hang on the batch; the page still says it."""
    other = summary("b", device="Card Y", **changes)
    pair = pair_of(Axis.HARDWARE, SPEED, summary(), other)
    assert pair.blocking == ()
    assert [found.fact for found in pair.remarks] == [fact]


def test_speeds_of_two_models_need_the_same_card() -> None:
    """A smaller model that is "1.7 times as fast" on another card says nothing of its size."""
    smaller = {"model": "m-3b", "parameters": 3_000_000_000}
    other = summary("b", **smaller)
    assert pair_of(Axis.MODEL, SPEED, summary(), other).blocking == ()
    moved = pair_of(Axis.MODEL, SPEED, summary(), summary("b", device="Card Y", **smaller))
    assert [found.fact for found in moved.blocking] == ["fact_device"]


def test_models_may_have_rates_of_their_own() -> None:
    """Each size is tuned to its own learning rate, which is named."""
    pair = pair_of(Axis.MODEL, LOSS, summary(), summary("b", model="m-3b", learning_rate=4e-4))
    assert pair.blocking == ()
    assert [found.fact for found in pair.remarks] == ["fact_learning_rate"]


def test_mean_and_last_loss_are_different_definitions() -> None:
    """A run known by its mean and one known by its last value have no loss in common."""
    mean = summary("a", last_loss=None, eval_loss=None)
    last = summary("b", mean_loss=None, eval_loss=None, device="Card Y")
    (found,) = pair_of(Axis.HARDWARE, LOSS, mean, last).blocking
    assert (found.fact, translate(found.one, Language.EN)) == ("fact_loss", "mean of the run")
    assert translate(found.other, Language.EN) == "last step"


def test_other_data_are_one_reason() -> None:
    """Other rows have other lengths and other held-out rows: the page says that once."""
    changes = {"dataset": "others", "mean_sequence": 50.0, "held_out": HELD_OUT[:3]}
    assert blocking(Axis.HARDWARE, LOSS, **changes) == ["fact_dataset"]


def test_lengths_within_a_hundredth_are_the_same() -> None:
    """Three rows more or fewer move the mean length a little; that is no other work."""
    assert blocking(Axis.HARDWARE, SPEED, mean_sequence=1009.0) == []


def test_groups_hold_only_runs_that_all_compare() -> None:
    """Two pairs on two cards each are two groups, and what fits nowhere is in none."""
    runs = [
        summary("a"),
        summary("b", model="m-3b"),
        summary("c", device="Card Y"),
        summary("d", device="Card Y", model="m-3b"),
        summary("e", device="Card Z"),
    ]
    found = groups(Axis.MODEL, SPEED, runs)
    assert [[run.name for run in group] for group in found] == [["a", "b"], ["c", "d"]]


def test_runs_alike_in_what_is_needed_are_answered_once() -> None:
    """Another seed changes nothing that a comparison of losses needs; other steps do."""
    comparer = Comparer(Axis.HARDWARE, LOSS)
    runs = [summary("a"), summary("b", seed=7), summary("c", steps=156)]
    assert comparer.kind(runs[0]) == comparer.kind(runs[1]) != comparer.kind(runs[2])
    assert [comparer.reasons(runs[0], run) for run in runs] == [0, 0, 1]


def test_the_refused_pairs_nearest_to_a_comparison_come_first() -> None:
    """Of three cards the pair with the fewest reasons; one without a reason is left out."""
    runs = [
        summary("a"),
        summary("b", device="Card Y"),
        summary("c", device="Card Z", steps=156),
        summary("d", device="Card W", steps=78, effective_batch=8, quantization="nf4"),
    ]
    nearest, count = refused(Axis.HARDWARE, runs, 2)
    assert [(one.name, other.name) for one, other in nearest] == [("a", "c"), ("b", "c")]
    assert count == 5
