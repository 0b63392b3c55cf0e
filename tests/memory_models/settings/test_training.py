"""Settings: what no run can have is refused where the record is built."""

from __future__ import annotations

from typing import Any

import pytest

from memory_models.settings import (
    Attention,
    Dtype,
    FinetuningType,
    LossKernel,
    Optimizer,
    Quantization,
    TrainingSettings,
    changed,
    effective_settings,
    from_flat,
)

SHORT = from_flat(TrainingSettings, sequence_length=10, micro_batch_size=3)


@pytest.mark.parametrize(
    "name",
    [
        "lora_rank",
        "sequence_length",
        "micro_batch_size",
        "gradient_accumulation_steps",
        "world_size",
        "freeze_trainable_layers",
    ],
)
def test_counts_start_at_one(name: str) -> None:
    """Zero of anything that is multiplied is no run."""
    with pytest.raises(ValueError, match=f"^{name} must be at least 1, not 0$"):
        from_flat(TrainingSettings, **{name: 0})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"zero_stage": 4}, "zero_stage must be 0, 1, 2 or 3, not 4"),
        ({"offload_param": True}, "offload_param needs zero_stage 3"),
        ({"offload_param": True, "zero_stage": 2}, "offload_param needs zero_stage 3"),
        ({"offload_optimizer": True}, "offload_optimizer needs zero_stage 1, 2 or 3"),
        ({"adalora_init_rank": 4}, "adalora_init_rank 4 is below the target rank lora_rank 8"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(
    values: dict[str, object], message: str
) -> None:
    """The sentence names the field and what it needs."""
    with pytest.raises(ValueError, match=message):
        from_flat(TrainingSettings, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_products_in_8_bits_run_without_zero(stage: int) -> None:
    """DeepSpeed casts and flattens every parameter that it finds."""
    with pytest.raises(ValueError, match="quantization fp8 needs zero_stage 0"):
        from_flat(TrainingSettings, quantization=Quantization.FP8, zero_stage=stage, world_size=2)


@pytest.mark.parametrize("method", [FinetuningType.FULL, FinetuningType.FREEZE])
@pytest.mark.parametrize("quantization", Quantization)
def test_a_quantised_base_cannot_be_trained(
    method: FinetuningType, quantization: Quantization
) -> None:
    """Quantised weights take no gradient: only adapters go on them."""
    with pytest.raises(ValueError, match="a quantised base cannot be trained"):
        from_flat(TrainingSettings, finetuning_type=method, quantization=quantization)


def test_a_recipe_is_what_programs_depend_on() -> None:
    """Neither lengths nor ranks nor the optimizer make another program; accumulation does once."""
    other = changed(
        SHORT, sequence_length=64, micro_batch_size=7, optimizer=Optimizer.SGD, world_size=2
    )
    assert other.layer == SHORT.layer
    assert changed(SHORT, attention=Attention.EAGER).layer != SHORT.layer
    assert changed(SHORT, loss_kernel=LossKernel.FUSED).head != SHORT.head
    twice, often = (changed(SHORT, gradient_accumulation_steps=steps) for steps in (2, 9))
    assert twice.layer == often.layer
    assert twice.layer != SHORT.layer


def test_under_deepspeed_nothing_is_cast() -> None:
    """The model is in half precision and there is no autocast; ZeRO-1 to 3 run one program."""
    one, two, three = (changed(SHORT, zero_stage=stage) for stage in (1, 2, 3))
    assert (effective_settings(one).base.model_dtype, effective_settings(one).base.autocast) == (
        Dtype.BF16,
        None,
    )
    assert effective_settings(SHORT) is SHORT
    assert two.layer == three.layer
    assert one.layer != SHORT.layer
    # Gradients that leave at once are to a program what gradients added to earlier ones are.
    assert two.layer == changed(one, gradient_accumulation_steps=2).layer


def test_state_settings_leave_lengths_and_batches_out() -> None:
    """Model states depend on the optimizer and on ranks."""
    longer = changed(SHORT, sequence_length=64, micro_batch_size=7)
    assert longer.states == SHORT.states
    assert longer.states == changed(longer, sequence_length=1, micro_batch_size=1).states
    assert changed(SHORT, optimizer=Optimizer.SGD).states != SHORT.states


def test_tokens_are_sequences_times_their_length() -> None:
    """Three sequences of ten positions."""
    assert SHORT.tokens == 30


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"modules_to_save": ("q_proj",)}, "modules_to_save takes embed_tokens and lm_head"),
        (
            {"modules_to_save": ("lm_head",), "lora_target": ("lm_head",)},
            "lm_head is in lora_target and in modules_to_save",
        ),
        (
            {"modules_to_save": ("lm_head",), "finetuning_type": FinetuningType.FULL},
            "modules_to_save needs an adapter, not full",
        ),
        (
            {"lora_target": ("embed_tokens",), "finetuning_type": FinetuningType.DORA},
            "take lora or rslora as targets, not dora",
        ),
        (
            {"rank_pattern": (("q_proj", 4),), "finetuning_type": FinetuningType.ADALORA},
            "rank_pattern and alpha_pattern need lora, not adalora",
        ),
        ({"rank_pattern": (("q_proj", 0),)}, "the pattern of q_proj must be above 0, not 0"),
        ({"modules_to_save": ("lm_head",), "zero_stage": 2}, "without ZeRO alone"),
        (
            {"lora_target": ("lm_head",), "loss_kernel": LossKernel.FUSED},
            "the fused loss leaves out an adapter on lm_head",
        ),
    ],
)
def test_what_is_trained_beside_adapters_is_checked(values: dict[str, Any], says: str) -> None:
    """Each sentence names the setting at fault."""
    with pytest.raises(ValueError, match=says):
        from_flat(TrainingSettings, **values)


def test_all_linear_leaves_embedding_and_head_out() -> None:
    """PEFT does, too."""
    method = from_flat(TrainingSettings).method
    assert not method.adapts("lm_head")
    assert not method.trains_embedding
    assert method.is_uniform
