"""Sections that compare runs along an axis, or say why runs are not compared."""

from __future__ import annotations

from tests.support.hand_made import HELD_OUT, summary
from tsplanner.report.messages.translate import Language, translate
from tsplanner.report.page import Bullets, Paragraph, Table
from tsplanner.report.records.comparable import Axis
from tsplanner.report.sections.comparisons import comparison, documents


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


def test_a_table_of_very_many_runs_shows_its_ends() -> None:
    """Thirty cards: the slowest and the nineteen fastest, the twenty lowest losses, ten hidden."""
    runs = [
        summary(str(n), device=f"Card {n:02}", samples_per_second=float(n), eval_loss=1.0 / n)
        for n in range(1, 31)
    ]
    blocks = comparison(Axis.HARDWARE, runs).blocks
    speed, losses = [block for block in blocks if isinstance(block, Table)]
    names = [translate(row[0], Language.EN).split(" ")[0] for row in speed.rows]
    assert names == ["#1", *[f"#{n}" for n in range(12, 31)]]
    assert len(losses.rows) == 20
    said = [translate(b.text, Language.EN) for b in blocks if isinstance(b, Paragraph)]
    assert said.count("10 further runs of this comparison are not listed here.") == 2
