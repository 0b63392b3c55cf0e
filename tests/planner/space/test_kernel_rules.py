"""What kernels need; every rule is held to its words in test_rules.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import Attention, from_flat
from tests.support.rig import machine
from tests.support.toy_request import HOPPER, request
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.kernel_rules import flex_family, has_compiler


def test_a_machine_that_is_only_described_is_taken_to_compile() -> None:
    """Of this one it is known."""
    described = replace(machine(HOPPER), packages=(), detected=False)
    assert has_compiler(described)
    assert not has_compiler(replace(described, detected=True))
    assert has_compiler(replace(described, detected=True, packages=("triton",)))


@pytest.mark.parametrize(
    ("model_type", "recorded", "takes"),
    [("qwen2", "", True), ("gpt_oss", "key", True), ("lfm2", "key", False)],
)
def test_flex_attention_runs_what_was_compared(
    model_type: str, recorded: str, *, takes: bool
) -> None:
    """All families with a formula, and of the others gpt-oss alone."""
    asked = request("qwen2.5-0.5b", HOPPER)
    layer = replace(asked.architecture.layer, recorded=recorded)
    asked = replace(
        asked,
        model=replace(asked.model, model_type=model_type),
        architecture=replace(asked.architecture, layer=layer),
    )
    flex = from_flat(HardwareSettings, attention=Attention.FLEX_ATTENTION)
    assert (flex_family(asked, flex) is None) is takes
    assert flex_family(asked, HardwareSettings()) is None


@pytest.mark.parametrize(
    ("config", "remote", "takes"),
    [
        ({"attention_dropout": 0.0}, False, True),
        ({"attention_dropout": 0.1}, False, False),
        ({"attn_pdrop": 0.1}, False, False),
        ({"text_config": {"attention_dropout": 0.1}}, False, False),
        ({}, True, False),
    ],
)
def test_flex_attention_refuses_dropout_and_code_that_may_not_reach_it(
    config: dict[str, object], *, remote: bool, takes: bool
) -> None:
    """StarCoder2 is published with an attention dropout of 0.1."""
    asked = request("qwen2.5-0.5b", HOPPER)
    model = replace(asked.model, config=config, trust_remote_code=remote)
    flex = from_flat(HardwareSettings, attention=Attention.FLEX_ATTENTION)
    assert (flex_family(replace(asked, model=model), flex) is None) is takes
