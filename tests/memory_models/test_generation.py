"""An answer between two steps takes no more than a step: its bound, and prompts with room."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from memory_models.generation import (
    cache_bytes,
    generation_bytes,
    generation_room,
    step_bytes,
)
from memory_models.settings import (
    Attention,
    Dtype,
    FinetuningType,
    LossKernel,
    Quantization,
    TrainingSettings,
    from_flat,
)
from tsplanner.models.source import read_model

LLAMA = read_model("llama-3.1-8b").architecture
LLAMA_2 = read_model("llama-2-7b").architecture


def settings(**changes: Any) -> TrainingSettings:
    """One row of 1,024 positions in bf16."""
    given = {"autocast": Dtype.BF16, "sequence_length": 1024, **changes}
    return from_flat(TrainingSettings, **given)


def test_the_cache_has_a_key_and_a_value_per_layer_and_position() -> None:
    """2 tensors x 32 layers x 8 heads of 128 x 1,024 positions x 2 bytes are 128 MiB."""
    assert cache_bytes(LLAMA, settings(), 1024) == 128 * 2**20
    assert cache_bytes(LLAMA_2, settings(), 1024) == 512 * 2**20  # 32 heads instead of 8


def test_keys_of_a_stream_in_fp32_take_four_bytes() -> None:
    """As a 4-bit base has it, and a model in fp32 under autocast."""
    assert cache_bytes(LLAMA, settings(quantization=Quantization.NF4), 1024) == 256 * 2**20


def test_a_generation_holds_its_cache_twice_one_layer_and_one_position_of_logits() -> None:
    """Beyond the two caches of 128 MiB there is less than a step's logits, 128,256 x 1,024 x 4."""
    found = generation_bytes(LLAMA, settings(), 1024)
    assert 256 * 2**20 < found < 256 * 2**20 + 128256 * 1024 * 4


RECIPES: tuple[dict[str, Any], ...] = (
    {},
    {"gradient_checkpointing": False},
    {"loss_kernel": LossKernel.FUSED},
    {"finetuning_type": FinetuningType.FULL},
    {"quantization": Quantization.NF4},
    {"micro_batch_size": 4},
    {"token_budget": 4096},
)


@pytest.mark.parametrize("changes", RECIPES, ids=str)
def test_what_has_room_takes_no_more_than_a_step_and_one_position_more_does(
    changes: dict[str, Any],
) -> None:
    """Of both ways to attend: 8 heads for keys, and 32."""
    for shape in (LLAMA, LLAMA_2):
        asked = settings(**changes)
        limit, room = step_bytes(shape, asked), generation_room(shape, asked, 100_000)
        assert generation_bytes(shape, asked, room) <= limit
        assert generation_bytes(shape, asked, room + 1) > limit


def test_prompts_get_no_more_room_than_is_asked_for() -> None:
    """A kept layer alone leaves room for thousands of positions."""
    assert generation_room(LLAMA, settings(gradient_checkpointing=False), 700) == 700


def test_layers_without_a_formula_are_refused() -> None:
    """Nobody knows their cache."""
    recorded = replace(LLAMA, layer=replace(LLAMA.layer, recorded="abc"))
    with pytest.raises(ValueError, match="layers with a formula"):
        generation_bytes(recorded, settings(), 10)


def test_answers_are_made_by_what_a_model_was_built_with() -> None:
    """Gemma 2 by eager attention, which writes scores, and others by sdpa."""
    capped = replace(LLAMA, attention=replace(LLAMA.attention, attn_logit_softcapping=50.0))
    for shape, plain in ((capped, Attention.EAGER), (LLAMA, Attention.SDPA)):
        flex, own = (
            generation_bytes(shape, settings(attention=each), 1000)
            for each in (Attention.FLEX_ATTENTION, plain)
        )
        assert flex == own
