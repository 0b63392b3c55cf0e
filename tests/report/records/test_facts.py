"""Facts that two runs share, or that read differently for each of them."""

from __future__ import annotations

from dataclasses import replace

from tests.support.hand_made import HELD_OUT, summary
from tsplanner.report.messages.translate import Language, messages, translate
from tsplanner.report.page import Text
from tsplanner.report.records.comparable import NAMED, NEEDED, Axis, pairs
from tsplanner.report.records.facts import FACTS, losses_of


def test_every_fact_has_words_and_a_use() -> None:
    """A fact that nothing asks for, or that has no words, is a mistake."""
    used = {fact for table in (NEEDED, NAMED) for row in table.values() for fact in row}
    assert used == set(FACTS)
    assert used <= set(messages(Language.EN).templates)
    assert pairs(Axis.HARDWARE, [summary()]) == []


def reads(fact: str, **changes: object) -> tuple[str, str] | None:
    """How a fact reads for the plain run and for a changed one, in English."""
    found = FACTS[fact](summary(), summary("b", **changes))
    return None if found is None else (say(found[0]), say(found[1]))


def say(text: Text) -> str:
    """A text in English."""
    return translate(text, Language.EN)


def test_two_runs_share_every_fact_of_equal_records() -> None:
    """A run compared with its twin has no fact that sets the two apart."""
    assert all(fact(summary(), summary("b")) is None for fact in FACTS.values())


def test_an_unknown_value_is_not_equal_to_another_unknown_value() -> None:
    """Two runs of unknown seeds may well have had different ones."""
    assert reads("fact_seed", seed=None) == ("42", "not known")
    unknown = summary(seed=None)
    found = FACTS["fact_seed"](unknown, unknown)
    assert found is not None
    assert [say(text) for text in found] == ["not known", "not known"]


def test_warm_up_and_noise_set_runs_apart_where_they_are_not_the_usual_ones() -> None:
    """The usual ones have one word."""
    usual, other = summary(), summary("b")
    noisy = replace(other, settings=replace(other.settings, pace="neftune_noise_alpha 5"))
    found = FACTS["fact_pace"](usual, noisy)
    assert found is not None
    assert [say(text) for text in found] == ["defaults", "neftune_noise_alpha 5"]


def test_methods_without_adapters_share_their_lack_of_a_rank() -> None:
    """Two full runs are not set apart by ranks that neither has."""
    full = summary(method="full", rank=None)
    assert FACTS["fact_rank"](full, full) is None
    assert reads("fact_rank", rank=None) == ("8", "not known")


def test_held_out_rows_are_told_by_their_number_and_their_tokens() -> None:
    """Five rows of ten tokens against four of them."""
    assert reads("fact_held_out", held_out=HELD_OUT[:4]) == (
        "5 rows of 50 tokens",
        "4 rows of 40 tokens",
    )
    unknown = summary("b", held_out=[], validation_fraction=0.2)
    assert FACTS["fact_held_out"](unknown, unknown) is None


def test_losses_are_named_by_their_definitions() -> None:
    """Three figures have three definitions, and a run without a figure has none on record."""
    assert losses_of(summary()) == ("loss_mean", "loss_last", "loss_held_out")
    assert losses_of(summary(mean_loss=None, last_loss=None, eval_loss=None)) == ()
    none = {"mean_loss": None, "last_loss": None, "eval_loss": None}
    found = reads("fact_loss", **none)
    assert found is not None
    assert found[1] == "none on record"
