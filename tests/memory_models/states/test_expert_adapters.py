"""LoRA on fused experts: what a target means, and how many parameters it trains."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.architecture import Architecture, Linear, Role
from memory_models.settings import FinetuningType, Method, TrainingSettings, changed, from_flat
from memory_models.states.adapters import check_targets, trainable_parameters
from memory_models.states.expert_adapters import (
    CLAIMING_TYPES,
    adapted_experts,
    expert_matrices,
    meaning_experts,
)
from memory_models.states.optimizer import trained_tensors
from tests.support.toy_decoder import EXPERTS, TOY
from tsplanner.models.source import read_model

SHARED = changed(
    EXPERTS,
    linears=(
        *EXPERTS.layer.linears,
        Linear(name="gate_proj", role=Role.OTHER, in_features=8, out_features=4),
        Linear(name="up_proj", role=Role.OTHER, in_features=8, out_features=4),
        Linear(name="down_proj", role=Role.OTHER, in_features=4, out_features=8),
    ),
)
"""A shared expert of size 4 beside the four experts of size 16."""


def method(*targets: str, **changes: object) -> Method:
    """LoRA of rank 2 on these targets."""
    settings = from_flat(TrainingSettings, **{"lora_rank": 2, "lora_target": targets, **changes})
    return settings.method  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("targets", "count"),
    [
        # Gate and up are one matrix 8 -> 32 at rank 4: 4 experts x 4 x (8 + 32) = 640 a block.
        (("gate_proj", "up_proj"), 1280),
        (("w1", "w3"), 1280),
        # The parameter's own name asks for the rank itself: 4 x 2 x 40 = 320.
        (("gate_up_proj",), 640),
        # Down is 16 -> 8: 4 x 2 x 24 = 192.
        (("down_proj",), 384),
        (("w2",), 384),
        # And q_proj 2 x 16 = 32.
        (("q_proj", "gate_proj", "up_proj", "down_proj"), 1728),
    ],
)
def test_adapters_of_experts_have_the_rank_for_every_expert(
    targets: tuple[str, ...], count: int
) -> None:
    """Two blocks of four experts from 8 to 16 and back."""
    assert trainable_parameters(EXPERTS, method(*targets)) == count
    assert (
        sum(
            each.rows * each.columns * each.copies
            for each in trained_tensors(EXPERTS, method(*targets))
        )
        == count
    )


def test_the_published_mixture_trains_what_peft_trains() -> None:
    """PEFT 0.21.2 on a meta device: 497.4 million at rank 8, attention and experts."""
    found = read_model("qwen3-30b-a3b").architecture
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    assert trainable_parameters(found, method(*names, lora_rank=8)) == 497_418_240


def test_a_dense_model_has_no_experts() -> None:
    """There gate_proj is a linear."""
    assert expert_matrices(TOY) == ()
    assert adapted_experts(TOY, method("gate_proj")) == ()


def test_gate_needs_up_beside_it() -> None:
    """One parameter holds both."""
    for half, other in (("gate_proj", "up_proj"), ("up_proj", "gate_proj"), ("w1", "w3")):
        with pytest.raises(ValueError, match=f'"{half}" needs "{other}" beside it'):
            check_targets(EXPERTS, method("q_proj", half))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lora_dropout": 0.1}, "lora_dropout 0.1 does not go with adapters on experts"),
        ({"finetuning_type": FinetuningType.DORA}, "finetuning_type dora does not reach"),
        ({"finetuning_type": FinetuningType.ADALORA}, "finetuning_type adalora does not reach"),
    ],
)
def test_what_peft_has_not_for_experts_is_refused(changes: dict[str, object], words: str) -> None:
    """The same settings pass where only linears are adapted."""
    with pytest.raises(ValueError, match=words):
        check_targets(EXPERTS, method("q_proj", "down_proj", **changes))
    check_targets(EXPERTS, method("q_proj", **changes))


@pytest.mark.parametrize(
    ("kind", "architecture", "targets", "experts"),
    [
        # Qwen2-MoE: the names are those of the shared expert's linears.
        ("qwen2_moe", SHARED, ("gate_proj", "up_proj", "down_proj"), ()),
        ("qwen2_moe", SHARED, ("gate_up_proj", "down_proj"), ("gate_up_proj", "down_proj")),
        # DeepSeek: PEFT reads them as the experts.
        ("deepseek_v3", SHARED, ("gate_proj", "up_proj"), ("gate_up_proj",)),
    ],
)
def test_shared_experts_keep_their_names_unless_peft_claims_them(
    kind: str, architecture: Architecture, targets: tuple[str, ...], experts: tuple[str, ...]
) -> None:
    """It depends on the family, as PEFT's own table does."""
    found = adapted_experts(replace(architecture, model_type=kind), method(*targets))
    assert tuple(each.name for each in found) == experts


def test_all_linear_leaves_out_linears_that_peft_cannot_name() -> None:
    """Shared expert at rank 2: 2 x 12 x 3 = 72 a block, where PEFT can adapt it; attention 112."""
    everything = from_flat(TrainingSettings, lora_rank=2).method
    shared = {kind: replace(SHARED, model_type=kind) for kind in ("qwen2_moe", "deepseek_v3")}
    assert trainable_parameters(shared["qwen2_moe"], everything) == 2 * (112 + 72)
    assert trainable_parameters(shared["deepseek_v3"], everything) == 2 * 112


def test_the_types_are_those_of_the_installed_peft() -> None:
    """On these PEFT moves gate_proj from the linears of that name to the fused experts."""
    pytest.importorskip("peft")
    conversion = pytest.importorskip("peft.utils.transformers_weight_conversion")
    mapping = conversion._MODEL_TO_CONVERSION_PATTERN
    claimed = {kind for kind, pattern in mapping.items() if pattern == "qwen2_moe"}
    assert claimed >= CLAIMING_TYPES
    assert "qwen2_moe" not in claimed


def test_names_are_told_apart_in_the_order_given() -> None:
    """q_proj is a linear; down_proj is the experts' where no linear is called so."""
    assert meaning_experts(("q_proj", "down_proj"), ("q_proj",), "mixtral") == ("down_proj",)
    assert meaning_experts(("down_proj",), ("down_proj",), "mixtral") == ()
