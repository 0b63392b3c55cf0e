"""Settings that cannot run are refused, and the sentence names what and why."""

from __future__ import annotations

import pytest

from memory_models.estimate import check, estimate_memory
from memory_models.settings import (
    Attention,
    Dtype,
    FinetuningType,
    TrainingSettings,
    changed,
)
from tests.support.exact import FITTING, FP16
from tests.support.rig import AMPERE, TURING
from tests.support.toy_decoder import TOY


def test_a_sequence_beyond_learned_positions_is_refused() -> None:
    """64 positions pass, 65 are above the limit, which is named."""
    learned = changed(TOY, learned_position_count=64 * 8)
    check(learned, FITTING)
    with pytest.raises(
        ValueError, match="sequence_length 65 is above the model's max_position_embeddings 64"
    ):
        check(learned, changed(FITTING, sequence_length=65))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lora_rank": 5}, "lora_rank 5 is above the smallest side, 4"),
        ({"lora_target": ("c_attn",)}, '"c_attn" is no linear'),
        (
            {
                "attention": Attention.FLASH_ATTENTION_2,
                "model_dtype": Dtype.FP32,
                "autocast": None,
            },
            "flash_attention_2 needs fp16 or bf16",
        ),
        ({"autocast": Dtype.FP32}, "autocast must be bf16, fp16 or null"),
        (
            {"finetuning_type": FinetuningType.FREEZE, "freeze_trainable_layers": 3},
            "above the model's 2 layers",
        ),
    ],
)
def test_what_cannot_run_is_refused_before_it_is_estimated(
    values: dict[str, object], message: str
) -> None:
    """The sentence names the field and the limit."""
    with pytest.raises(ValueError, match=message):
        estimate_memory(TOY, changed(FITTING, **values))  # type: ignore[arg-type]


def test_flash_attention_runs_on_an_fp32_model_under_autocast() -> None:
    """Its operands are half precision then."""
    settings = changed(FITTING, attention=Attention.FLASH_ATTENTION_2, model_dtype=Dtype.FP32)
    check(TOY, settings, AMPERE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (FITTING, "bf16 needs compute capability 8.0; RTX 2080 Ti has 7.5: use fp16"),
        (changed(FP16, model_dtype=Dtype.BF16), "bf16 needs"),
        (changed(FP16, autocast=Dtype.BF16), "bf16 needs"),
        (
            changed(FP16, attention=Attention.FLASH_ATTENTION_2),
            "flash_attention_2 needs compute capability 8.0; RTX 2080 Ti has 7.5: use sdpa",
        ),
        (
            changed(FP16, attention=Attention.FLEX_ATTENTION),
            "flex_attention needs compute capability 8.0; RTX 2080 Ti has 7.5: use sdpa, or eager",
        ),
    ],
)
def test_turing_has_neither_bf16_nor_flash_attention(
    settings: TrainingSettings, message: str
) -> None:
    """What Turing only emulates is refused there and passes from 8.0 on."""
    with pytest.raises(ValueError, match=message):
        check(TOY, settings, TURING)
    check(TOY, settings, AMPERE)
