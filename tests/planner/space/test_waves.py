"""What is estimated of the space, and what is told of the rest."""

from __future__ import annotations

from tests.support.rig import TURING
from tests.support.toy_request import (
    HOPPER,
    request,
)
from tsplanner.planner.explain.reasons import RuleName
from tsplanner.planner.explain.sentences import refusal_sentence
from tsplanner.planner.space.waves import evaluate_all


def test_rules_that_only_prune_the_space_are_not_told() -> None:
    """Nobody asked for ZeRO on one GPU; a package that is missing is worth a word."""
    _, refusals = evaluate_all(request("qwen2.5-0.5b", HOPPER, packages=("deepspeed",)))
    rules = {found.rule for found in refusals}
    assert RuleName.BITSANDBYTES in rules
    assert not rules & {RuleName.USELESS_SHARDING, RuleName.USELESS_OFFLOAD}


def test_one_refusal_is_told_per_rule_and_finding() -> None:
    """Hundreds of candidates want bf16 or FlashAttention; the reasons are a handful."""
    _, refusals = evaluate_all(request("qwen2.5-0.5b", HOPPER, TURING, packages=()))
    words = [(found.rule, refusal_sentence(found)) for found in refusals]
    assert len(set(words)) == len(words)
    assert "bitsandbytes" in {found.rule for found in refusals}


def test_a_plain_base_that_fits_is_not_quantised() -> None:
    """Quantisation changes what is learned: it is not even looked at."""
    evaluated, _ = evaluate_all(request("qwen2.5-7b", HOPPER))
    assert {found.hardware.base.quantization for found in evaluated} == {None}
