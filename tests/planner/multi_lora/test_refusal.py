"""Which trials may share one base, and what keeps the others from it."""

from __future__ import annotations

from typing import Any

import pytest

from memory_models.settings import (
    FinetuningType,
    Quantization,
    from_flat,
)
from tsplanner.planner.explain.reasons import Obstacle
from tsplanner.planner.explain.sentences import CHINESE
from tsplanner.planner.multi_lora.refusal import STRANGE_HEADS, sharing_refusal
from tsplanner.planner.settings import HardwareSettings, LearningSettings


def test_lora_and_rslora_share_and_qlora_too() -> None:
    """On half-precision and 4-bit bases."""
    for method in (FinetuningType.LORA, FinetuningType.RSLORA):
        for quantization in (None, Quantization.NF4, Quantization.NF4_DQ):
            hardware = from_flat(HardwareSettings, quantization=quantization)
            learning = from_flat(LearningSettings, finetuning_type=method)
            assert sharing_refusal(learning, hardware, {"attention_dropout": 0.0}) is None


REFUSED: list[tuple[dict[str, Any], dict[str, Any], Obstacle, str]] = [
    ({"finetuning_type": FinetuningType.DORA}, {}, Obstacle.METHOD, "dora changes or reads"),
    ({"lora_dropout": 0.05}, {}, Obstacle.LORA_DROPOUT, "lora_dropout 0.05 draws"),
    ({"neftune_noise_alpha": 5.0}, {}, Obstacle.NEFTUNE, "neftune_noise_alpha 5 adds noise"),
    ({"lr_scheduler_type": "reduce_lr_on_plateau"}, {}, Obstacle.SCHEDULE, "follows the loss"),
    ({}, {"quantization": Quantization.INT8}, Obstacle.INT8, "int8 looks for outliers"),
    ({}, {"world_size": 2}, Obstacle.WORLD_SIZE, "runs on 2 processes"),
    ({}, {"zero_stage": 2}, Obstacle.ZERO, "ZeRO stage 2 shards"),
    ({}, {"streamed_layers": 4}, Obstacle.STREAMED, "its base is streamed layer by layer"),
    (
        {"effective_batch_size": 6},
        {"micro_batch_size": 4},
        Obstacle.BATCH_SIZE,
        "no multiple of micro-batch 4",
    ),
]


@pytest.mark.parametrize(("learning", "hardware", "obstacle", "words"), REFUSED)
def test_what_cannot_share_is_refused_in_one_sentence(
    learning: dict[str, Any], hardware: dict[str, Any], obstacle: Obstacle, words: str
) -> None:
    """With the reason in it."""
    refusal = sharing_refusal(
        from_flat(LearningSettings, **learning), from_flat(HardwareSettings, **hardware)
    )
    assert refusal is not None
    assert refusal.obstacle is obstacle
    sentence = refusal.sentence()
    assert sentence.startswith("This trial runs alone: ")
    assert words in sentence
    assert sentence.count(". ") == 0


def test_adapters_on_experts_are_trained_alone() -> None:
    """The names mean experts in a mixture, and linears in any other model."""
    learning = from_flat(LearningSettings, lora_target=("q_proj", "gate_proj", "up_proj"))
    refusal = sharing_refusal(learning, HardwareSettings(), {"num_experts": 128})
    assert refusal is not None
    assert refusal.obstacle is Obstacle.EXPERTS
    assert "gate_proj, up_proj mean experts" in refusal.sentence()
    assert sharing_refusal(learning, HardwareSettings(), {}) is None


def test_a_base_with_dropout_is_not_shared() -> None:
    """Its masks are drawn for the whole batch."""
    refusal = sharing_refusal(LearningSettings(), HardwareSettings(), {"attention_dropout": 0.1})
    assert refusal is not None
    assert refusal.obstacle is Obstacle.BASE_DROPOUT
    assert "(attention_dropout)" in refusal.sentence()


def test_a_refusal_is_told_of_one_trial_or_of_all_in_both_languages() -> None:
    """The subject changes, the reason stays."""
    refusal = sharing_refusal(LearningSettings(), from_flat(HardwareSettings, zero_stage=2))
    assert refusal is not None
    assert refusal.sentence() == "This trial runs alone: ZeRO stage 2 shards the base."
    assert refusal.sentence(every_trial=True) == "Trials run alone: ZeRO stage 2 shards the base."
    chinese = refusal.sentence(every_trial=True, language=CHINESE)
    assert chinese == "各试验单独运行：ZeRO 第 2 阶段会切分基座。"


@pytest.mark.parametrize("key", STRANGE_HEADS)
def test_a_head_that_scales_its_logits_is_not_shared(key: str) -> None:
    """The fused loss would leave the factor out; a factor of one changes nothing."""
    refusal = sharing_refusal(LearningSettings(), HardwareSettings(), {key: 0.5})
    assert refusal is not None
    assert refusal.obstacle is Obstacle.LM_HEAD
    assert key in refusal.sentence()
    assert sharing_refusal(LearningSettings(), HardwareSettings(), {key: 1.0}) is None


def test_a_family_without_a_formula_trains_one_trial_at_a_time() -> None:
    """Its layers are recorded for a single adapter."""
    refusal = sharing_refusal(LearningSettings(), HardwareSettings(), {"model_type": "falcon"})
    assert refusal is not None
    assert refusal.obstacle is Obstacle.NO_FORMULA
    assert sharing_refusal(LearningSettings(), HardwareSettings(), {"model_type": "llama"}) is None
