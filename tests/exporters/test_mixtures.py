"""Adapters on experts in the words of other trainers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import Method, TrainingSettings, from_flat
from tests.support.toy_decoder import EXPERTS, TOY
from tsplanner.errors import TsplannerError
from tsplanner.exporters.mixtures import (
    module_names,
    notes,
    parameter_names,
    require_module_names,
)

QWEN = replace(EXPERTS, model_type="qwen3_moe")
USUAL = ("gate_proj", "up_proj", "down_proj")
FUSED = ("gate_up_proj", "down_proj")


def method(*targets: str) -> Method:
    """LoRA of rank 2 on these targets."""
    settings = from_flat(TrainingSettings, lora_rank=2, lora_target=targets or "all-linear")
    return settings.method  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("kind", "names"),
    [("qwen3_moe", ["q_proj", *USUAL]), ("mixtral", ["q_proj", "w1", "w3", "w2"])],
)
def test_experts_go_by_the_names_that_peft_has_for_the_family(kind: str, names: list[str]) -> None:
    """Mixtral's are those of its first code."""
    found = replace(EXPERTS, model_type=kind)
    assert module_names(found, method("q_proj", *USUAL)) == names
    assert parameter_names(found, method("q_proj", *USUAL)) == []


def test_a_family_without_names_is_refused_with_the_way_out() -> None:
    """Granite's experts can be targeted as parameters, at the rank itself."""
    granite = replace(EXPERTS, model_type="granitemoe")
    with pytest.raises(TsplannerError, match="--lora-target q_proj,gate_up_proj,down_proj"):
        module_names(granite, method("q_proj", *USUAL))
    assert module_names(granite, method("q_proj", *FUSED)) == ["q_proj"]
    assert parameter_names(granite, method("q_proj", *FUSED)) == [
        "experts.gate_up_proj",
        "experts.down_proj",
    ]


def test_a_trainer_of_modules_alone_refuses_parameters() -> None:
    """LLaMA-Factory has no key for them."""
    require_module_names(QWEN, method("q_proj", *USUAL), "LLaMA-Factory")
    with pytest.raises(TsplannerError, match="LLaMA-Factory takes names of modules"):
        require_module_names(QWEN, method("q_proj", *FUSED), "LLaMA-Factory")


def test_an_exported_file_says_what_of_a_mixture_is_trained() -> None:
    """All-linear: 224 of attention in our sense; in PEFT's 2 x (112 + 640 + 192) and the router."""
    (line,) = notes(QWEN, method())
    assert "take no adapter and stay frozen" in line
    # The router: rank 2 x (8 + 4) a block.
    assert f"{2 * (112 + 640 + 192 + 24):,} parameters" in line
    (line,) = notes(QWEN, method("q_proj", *USUAL))
    assert f"{2 * (32 + 640 + 192):,} parameters are trained" in line
    assert notes(TOY, method()) == []
