"""The sentences of decisions, and the tables that words are read from and written by."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from memory_models.settings import changed
from tests.support import tiny
from tsplanner.commands.views.tune import STATE_WORDS
from tsplanner.planner.explain.reasons import AloneReason, Obstacle
from tsplanner.planner.explain.sentences import CHINESE
from tsplanner.planner.explain.templates import OBSTACLES, TRIALS_ALONE
from tsplanner.probe.process_records import WORST_FIRST
from tsplanner.training.job import FAILURES, Status
from tsplanner.tune.confirmation import Decision, Evidence, Reason
from tsplanner.tune.sentences import decision_document, decision_sentence, length_words
from tsplanner.tune.study.trial_result import OPTUNA_STATES, TrialState

EVIDENCE = Evidence(difference=-0.25, half_width=0.125, fresh_seeds=2, chance=0.98)


def decision(folder: Path, reason: Reason, *, keeps_baseline: bool) -> Decision:
    """A decision on a candidate of three times the rate."""
    baseline = changed(tiny.plan(folder).learning, learning_rate=1e-3, lora_rank=8)
    return Decision(
        reason=reason,
        keeps_baseline=keeps_baseline,
        candidate=changed(baseline, learning_rate=3e-3),
        baseline=baseline,
        evidence=EVIDENCE,
    )


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_one_sentence_that_names_the_outcome(
    tmp_path: Path, reason: Reason
) -> None:
    """Whatever the reason is, a person reads which settings are used."""
    for keeps in (True, False):
        sentence = decision_sentence(decision(tmp_path, reason, keeps_baseline=keeps))
        assert "keeping" in sentence or "using" in sentence
        assert sentence.endswith(".")
        assert ". " not in sentence


def test_pairs_are_told_with_their_interval(tmp_path: Path) -> None:
    """Mean difference, half the width of its interval, seeds and chance."""
    found = decision_sentence(decision(tmp_path, Reason.PAIRS, keeps_baseline=False))
    assert found == (
        "On 2 fresh seeds the held-out loss of rank 8, rate 3.0e-03, 2 epochs differs from the "
        "baseline's by -0.2500 ± 0.1250 (95 %), and by all trials the chance to be better is 98%: "
        "using it."
    )


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        (Reason.UNLIKELY, "too little to test on fresh seeds"),
        (Reason.UNTESTED, "and no trial or no time was left to prove it on a fresh seed"),
    ],
)
def test_without_a_pair_the_sentence_says_why(tmp_path: Path, reason: Reason, why: str) -> None:
    """A chance of 98 % in the search is no proof."""
    assert decision_sentence(decision(tmp_path, reason, keeps_baseline=True)) == (
        "The best other settings (rank 8, rate 3.0e-03, 2 epochs) have a chance of 98% to beat "
        f"the baseline by the trials so far, {why}: keeping the baseline."
    )


def test_document_keeps_the_keys_that_people_read(tmp_path: Path) -> None:
    """tune.json has the keys it always had, and the reason as a word."""
    found = decision_document(decision(tmp_path, Reason.PAIRS, keeps_baseline=False))
    assert found["learning"] == found["challenger"]
    assert found["default"]["learning_rate"] == 1e-3
    assert (found["is_default"], found["difference"], found["half_width"]) == (False, -0.25, 0.125)
    assert (found["fresh_seeds"], found["chance"], found["reason"]) == (2, 0.98, "pairs")
    assert found["sentence"].endswith("using it.")


def test_tables_have_every_state_status_and_reason() -> None:
    """A new member without a row fails here, not in a search."""
    assert set(OPTUNA_STATES) == set(STATE_WORDS) == set(TrialState)
    assert set(WORST_FIRST) == set(Status)
    assert set(OBSTACLES) == set(Obstacle)
    assert set(TRIALS_ALONE) == set(AloneReason)


def test_failures_are_what_is_neither_memory_nor_time() -> None:
    """A probe that failed refutes its candidate, whatever ended it."""
    others = {Status.OK, Status.STOPPED, Status.DEVICE_OOM, Status.HOST_OOM, Status.TIMEOUT}
    assert set(Status) - others == FAILURES
    assert {status for status in Status if status.is_failure} == FAILURES


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("keeps", [True, False])
def test_every_decision_is_said_in_chinese_with_the_same_figures(
    tmp_path: Path, reason: Reason, keeps: bool
) -> None:
    """The Chinese report shows it."""
    made = decision(tmp_path, reason, keeps_baseline=keeps)
    english, chinese = decision_sentence(made), decision_sentence(made, CHINESE)
    assert re.search(r"[\u4e00-\u9fff]", chinese)
    assert chinese.endswith("。")
    figures = r"\d[\d.]*(?:e-\d+)?%?"
    assert sorted(re.findall(figures, english)) == sorted(re.findall(figures, chinese))
    assert decision_document(made)["sentence_zh"] == chinese


def test_a_run_is_as_long_as_its_steps_or_its_epochs(tmp_path: Path) -> None:
    """A number of steps goes before the epochs."""
    plan = tiny.plan(tmp_path)
    assert length_words(plan.learning) == "2 epochs"
    assert length_words(tiny.with_learning(plan, num_train_epochs=0.5).learning) == "0.5 epochs"
    assert length_words(tiny.with_learning(plan, max_steps=30).learning) == "30 steps"
