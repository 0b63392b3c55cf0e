"""What keeps two runs from being compared."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.hand_made import HELD_OUT, summary
from tsplanner.report.messages.translate import Language, messages, translate
from tsplanner.report.page import Bullets, Table
from tsplanner.report.records.comparable import NAMED, NEEDED, Axis, Subject, groups, pair_of, pairs
from tsplanner.report.records.facts import FACTS
from tsplanner.report.sections.comparisons import comparison, documents

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


def test_the_sentence_names_both_runs_and_what_differs() -> None:
    """A reader sees which pair, in what, and both values."""
    runs = [summary(), summary("b", quantization="nf4", steps=156, effective_batch=8)]
    section = comparison(Axis.QUANTIZATION, runs)
    tables = [block for block in section.blocks if isinstance(block, Table)]
    (refused,) = [block for block in section.blocks if isinstance(block, Bullets)]
    assert [translate(cell, Language.EN) for cell in tables[0].rows[1]] == [
        "#2 b (nf4)",
        "1",
        "1.00x",
        "effective batch 16 and 8",
    ]
    assert translate(refused.items[0], Language.EN) == (
        "#1 a and #2 b. Loss: steps 78 and 156; effective batch 16 and 8."
    )
    assert translate(refused.items[0], Language.ZH) == (
        "#1 a 与 #2 b。损失：步数 78 与 156；有效批量 16 与 8。"
    )


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


def test_speed_is_given_per_device_and_against_the_slowest() -> None:
    """Two cards at 2 samples/s are 1 each: one card alone at 1.5 is 1.5 times as fast."""
    section = comparison(
        Axis.HARDWARE, [summary(), summary("b", device="Card Y", gpus=1, samples_per_second=1.5)]
    )
    (speed, losses) = [block for block in section.blocks if isinstance(block, Table)]
    assert [translate(row[0], Language.EN) for row in speed.rows] == [
        "#1 a (2x Card X)",
        "#2 b (1x Card Y)",
    ]
    assert [row[1:3] for row in speed.rows] == [("1", "1.00x"), ("1.5", "1.50x")]
    assert losses.rows[0][1:4] == ("0.6400", "0.4700", "0.6000")


def test_held_out_losses_are_shown_with_their_standard_error() -> None:
    """Each row 0.1 lower: the difference is 0.1 without any error."""
    better = [(value - 0.1, count) for value, count in HELD_OUT]
    runs = [summary(), summary("b", device="Card Y", eval_loss=0.5, held_out=better)]
    losses = [block for block in comparison(Axis.HARDWARE, runs).blocks if isinstance(block, Table)]
    assert [row[4] for row in losses[-1].rows] == ["-", "+0.1000 ± 0.0000"]


def test_refusals_nearest_to_a_comparison_are_named_and_the_rest_counted() -> None:
    """Five runs make ten pairs; eight are named, two are counted, --json has all twenty."""
    runs = [summary(str(number), device=f"Card {number}", steps=number) for number in range(1, 6)]
    section = comparison(Axis.HARDWARE, runs)
    (refused,) = [block for block in section.blocks if isinstance(block, Bullets)]
    assert len(refused.items) == 8
    found = [row for row in documents(runs) if row["axis"] == "hardware"]
    assert len(found) == 20
    assert {tuple(row["differs"]) for row in found if row["subject"] == "loss"} == {("steps",)}


def test_every_fact_has_words_and_a_use() -> None:
    """A fact that nothing asks for, or that has no words, is a mistake."""
    used = {fact for table in (NEEDED, NAMED) for row in table.values() for fact in row}
    assert used == set(FACTS)
    assert used <= set(messages(Language.EN).templates)
    assert pairs(Axis.HARDWARE, [summary()]) == []
