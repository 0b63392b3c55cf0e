"""What a program reads of a plan: everything that lost, with reasons in words."""

from __future__ import annotations

import json

import pytest

from memory_models.settings import FinetuningType
from tests.support.toy_request import HOPPER, request
from tsplanner.commands.views.plan_json import (
    advice_values,
    choice_values,
    refusal_values,
    suggestion_values,
)
from tsplanner.planner.advice import Suggestion
from tsplanner.planner.explain.reasons import AdviceRule, AppliedRule, ChangeKind, Refusal, RuleName
from tsplanner.planner.explain.suggestions import FitSuggestion
from tsplanner.planner.rank import Choice, choose

ASKED = request("qwen2.5-7b", HOPPER, HOPPER, finetuning_type=FinetuningType.FULL)
RATE = Suggestion(
    setting="learning_rate",
    value=3e-4,
    planned=3e-4,
    rules=(
        AppliedRule(rule=AdviceRule.RATE_LARGE_MODEL),
        AppliedRule(rule=AdviceRule.RATE_SHORT_RUN, data={"steps": 78}),
    ),
    source="a sweep",
)


@pytest.fixture(scope="module")
def choice() -> Choice:
    """Full fine-tuning of 7B on two H200, which has many alternatives."""
    return choose(ASKED)


def test_advice_for_a_program_has_its_rule_in_words_and_its_source() -> None:
    """The keys that --json has always had."""
    assert advice_values(RATE) == {
        "setting": "learning_rate",
        "value": 3e-4,
        "planned": 3e-4,
        "rule": "3e-4 came within 0.0051 nats of the best for nine of ten models, at any rank; "
        "a short run stands up to 1.5 times that (steps: 78)",
        "source": "a sweep",
    }


def test_a_refusal_for_a_program_has_rule_setting_and_reason(choice: Choice) -> None:
    """The keys that --json has always had."""
    refused = Refusal(
        rule=RuleName.DEVICES, hardware=choice.plan.hardware, data={"wanted": 2, "have": 1}
    )
    assert refusal_values(refused) == {
        "rule": "devices",
        "setting": "bf16 · DDP x2",
        "reason": "asked for: 2 GPUs; the machine has 1",
    }


def test_a_suggestion_for_a_program_is_its_words_and_its_bytes() -> None:
    """The keys that --json has always had."""
    found = FitSuggestion(change=ChangeKind.MORE_GPUS, number=4, needs_bytes=5)
    assert suggestion_values(found) == {"change": "4 such GPUs", "needs_bytes": 5}


def test_a_choice_for_a_program_lists_everything_that_lost(choice: Choice) -> None:
    """Rows of the front by their difference, families by their name, and all of it is JSON."""
    found = json.loads(json.dumps(choice_values(choice)))
    assert list(found) == ["front", "alternatives", "refusals", "remarks", "considered"]
    assert len(found["front"]) == len(choice.front)
    assert len(found["alternatives"]) == len(choice.alternatives)
    assert found["considered"] == len(choice.evaluated)
    names = [row["setting"] for row in found["alternatives"]]
    assert len(set(names)) == len(names)
    assert "the same" not in {name.partition(",")[0] for name in names}
    keys = ["setting", "hardware", "verdict", "process_bytes", "samples_per_second"]
    keys += ["relative_speed", "quality_risk", "reason"]
    assert all(list(row) == keys for row in found["front"] + found["alternatives"])
