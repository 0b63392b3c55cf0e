"""Adapters: where they sit, how many parameters they have, which are refused."""

from __future__ import annotations

import pytest

from memory_models.architecture import Architecture
from memory_models.settings import FinetuningType, TrainingSettings, changed, from_flat
from memory_models.states.adapters import check_targets, trainable_parameters
from tests.support.toy_decoder import EXPERTS, TOY, WITH_ENCODER


@pytest.mark.parametrize(
    ("method", "count"),
    [
        # r = 2 on every linear of a block: 2 x (in + out): q 32, k 24, v 24, o 32, three MLP 48
        # each: 256; two blocks
        (FinetuningType.LORA, 512),
        (FinetuningType.RSLORA, 512),
        # a magnitude a row more: 8 + 4 + 4 + 8 + 16 + 16 + 8 = 64 a block
        (FinetuningType.DORA, 640),
        # starts with rank 3: 384 a block, and 3 singular values for each of 7 linears
        (FinetuningType.ADALORA, 810),
        (FinetuningType.FULL, 1704),
        # one block of the toy, see toy_decoder
        (FinetuningType.FREEZE, 592),
    ],
)
def test_trained_parameters_are_counted_by_method(method: FinetuningType, count: int) -> None:
    """What receives a gradient, worked out by hand on the toy."""
    settings = from_flat(
        TrainingSettings, finetuning_type=method, lora_rank=2, freeze_trainable_layers=1
    )
    assert trainable_parameters(TOY, settings.method) == count


def test_named_targets_alone_get_an_adapter() -> None:
    """Rank 1 on q, k, v: 16 + 12 + 12 a block, two blocks."""
    settings = from_flat(TrainingSettings, lora_rank=1, lora_target=("q_proj", "k_proj", "v_proj"))
    assert trainable_parameters(TOY, settings.method) == 80


@pytest.mark.parametrize("target", ["all-linear", ("q_proj",)])
def test_the_encoders_mlp_always_gets_an_adapter(target: tuple[str, ...] | str) -> None:
    """Rank 2 on 4 -> 8 and 8 -> 8: 24 + 32 more than without the encoder."""
    settings = from_flat(TrainingSettings, lora_rank=2, lora_target=target)
    added = trainable_parameters(WITH_ENCODER, settings.method) - trainable_parameters(
        TOY, settings.method
    )
    assert added == 56


def test_experts_and_router_take_no_adapter() -> None:
    """All-linear means linears: on a mixture it adapts attention alone, 112 a block at r = 2."""
    assert trainable_parameters(EXPERTS, from_flat(TrainingSettings, lora_rank=2).method) == 224


def test_a_target_the_model_does_not_have_is_refused_with_those_it_has() -> None:
    """The sentence lists the names that would work."""
    settings = from_flat(TrainingSettings, lora_rank=1, lora_target=("c_attn",))
    with pytest.raises(ValueError, match=r'"c_attn" is no linear of llama; it has q_proj, k_proj'):
        check_targets(TOY, settings.method)


def test_targets_that_take_no_adapter_are_refused() -> None:
    """Nothing is named: there would be nothing to train."""
    with pytest.raises(ValueError, match="matches no linear that takes an adapter"):
        check_targets(EXPERTS, from_flat(TrainingSettings, lora_rank=1, lora_target=()).method)


def test_a_router_is_refused_by_its_name() -> None:
    """Nobody adapts it, and PEFT's own all-linear does so by accident."""
    settings = from_flat(TrainingSettings, lora_rank=1, lora_target=("q_proj", "gate"))
    with pytest.raises(ValueError, match='"gate" is the router, which is never adapted'):
        check_targets(EXPERTS, settings.method)


@pytest.mark.parametrize(
    ("architecture", "target", "largest"),
    [
        (TOY, "all-linear", 4),
        (TOY, ("q_proj",), 8),
        (TOY, ("gate_proj", "down_proj"), 8),
        (WITH_ENCODER, ("q_proj",), 4),
    ],
)
def test_a_rank_above_the_smallest_adapted_side_is_refused(
    architecture: Architecture, target: tuple[str, ...] | str, largest: int
) -> None:
    """A rank above a matrix's smaller side only wastes memory; up to it, it passes."""
    check_targets(
        architecture, from_flat(TrainingSettings, lora_rank=largest, lora_target=target).method
    )
    with pytest.raises(ValueError, match=rf"is above the smallest side, {largest},"):
        check_targets(
            architecture,
            from_flat(TrainingSettings, lora_rank=largest + 1, lora_target=target).method,
        )


def test_adalora_is_checked_by_the_rank_it_starts_with() -> None:
    """A target of 3 starts at 4, which fits; 4 starts at 6, which does not."""
    check_targets(
        TOY, from_flat(TrainingSettings, finetuning_type=FinetuningType.ADALORA, lora_rank=3).method
    )
    with pytest.raises(ValueError, match="lora_rank 6 is above"):
        check_targets(
            TOY,
            from_flat(TrainingSettings, finetuning_type=FinetuningType.ADALORA, lora_rank=4).method,
        )


def test_more_layers_than_the_model_has_cannot_be_unfrozen() -> None:
    """Freeze counts from the last layer and there are only two."""
    settings = from_flat(
        TrainingSettings, finetuning_type=FinetuningType.FREEZE, freeze_trainable_layers=3
    )
    with pytest.raises(ValueError, match="freeze_trainable_layers 3 is above the model's 2 layers"):
        trainable_parameters(TOY, settings.method)


@pytest.mark.parametrize("method", FinetuningType)
def test_targets_matter_to_adapters_only(method: FinetuningType) -> None:
    """A full run ignores ``lora_target``; every adapter method checks it."""
    settings = from_flat(
        TrainingSettings, finetuning_type=method, lora_rank=1, lora_target=("nothing",)
    )
    if method.uses_adapter:
        with pytest.raises(ValueError, match="is no linear"):
            check_targets(TOY, settings.method)
    else:
        check_targets(TOY, settings.method)


def counted(architecture: Architecture = TOY, **method: object) -> int:
    """Trained elements of LoRA with these settings."""
    found = from_flat(TrainingSettings, **method).method
    check_targets(architecture, found)
    return trainable_parameters(architecture, found)


def test_copies_of_embedding_and_head_are_trained_whole_tied_or_not() -> None:
    """[V, D] each; PEFT gives a tied model two copies that are no longer tied."""
    words = TOY.vocabulary.vocab_size * TOY.hidden_size
    tied = changed(TOY, tie_word_embeddings=True)
    untied = changed(TOY, tie_word_embeddings=False)
    for each in (tied, untied):
        plain = counted(each, lora_rank=2)
        assert counted(each, lora_rank=2, modules_to_save=("lm_head",)) == plain + words
        both = ("embed_tokens", "lm_head")
        assert counted(each, lora_rank=2, modules_to_save=both) == plain + 2 * words


def test_adapters_on_embedding_and_head_are_thin() -> None:
    """A [R, V] and B [D, R] on the embedding, A [R, D] and B [V, R] on the head."""
    thin = 2 * (TOY.vocabulary.vocab_size + TOY.hidden_size)
    assert counted(lora_rank=2, lora_target=("embed_tokens",)) == thin
    assert counted(lora_rank=2, lora_target=("embed_tokens", "lm_head")) == 2 * thin


def test_a_pattern_gives_single_targets_a_rank_of_their_own() -> None:
    """Rank 3 on q (16 a rank), rank 1 on v (12 a rank), two blocks."""
    target, pattern = ("q_proj", "v_proj"), (("q_proj", 3),)
    assert counted(lora_rank=1, lora_target=target, rank_pattern=pattern) == 2 * (48 + 12)
    # Alphas change no counts.
    assert counted(lora_rank=1, lora_target=target, alpha_pattern=(("q_proj", 9.0),)) == 2 * 28


def test_a_pattern_of_no_target_and_a_rank_above_a_side_are_refused() -> None:
    """The sentences name them."""
    with pytest.raises(ValueError, match='the pattern of "k_proj" names no target'):
        counted(lora_rank=1, lora_target=("q_proj",), rank_pattern=(("k_proj", 2),))
    with pytest.raises(ValueError, match="lora_rank 9 is above the smallest side"):
        counted(lora_rank=1, lora_target=("q_proj",), rank_pattern=(("q_proj", 9),))
