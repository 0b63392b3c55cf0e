"""Habits of other trainers: under what was given, said as assumptions, bounded by their runs."""

from __future__ import annotations

import pytest

from memory_models.estimate import estimate_memory
from memory_models.settings import LossKernel, TrainingSettings, field_types
from tsplanner.errors import UsageError
from tsplanner.planner.gather.cases import Case, case_settings, read_case
from tsplanner.planner.gather.recipes import (
    RECIPES,
    SPREAD,
    STATES,
    recipe_named,
    under,
    with_habits,
)

CASE = {"model": "qwen2.5-0.5b", "quantization": "nf4", "sequence_length": 512}


def case(**given: object) -> Case:
    """A QLoRA run of Qwen2.5-0.5B."""
    return read_case({**CASE, **given}, {})


def test_every_recipe_is_of_settings_that_a_case_has() -> None:
    """Every habit is a setting with a value that can be, and each recipe has its source."""
    known = set(field_types(TrainingSettings))
    for recipe in RECIPES.values():
        assert set(recipe.settings) <= known, recipe.name
        assert case_settings({**CASE, "recipe": recipe.name}), recipe.name
        assert recipe.source, recipe.name
        assert recipe.summary, recipe.name
        assert recipe.spread > 1, recipe.name


def test_habits_hold_where_nothing_was_given() -> None:
    """TRL's loss in chunks is its habit, and a person who keeps all logits has them kept."""
    assert case(recipe="trl").settings.kernels.loss_kernel is LossKernel.FUSED
    kept = case(recipe="trl", loss_kernel="plain").settings
    assert kept.kernels.loss_kernel is LossKernel.PLAIN
    assert not kept.base.upcast_unquantized
    assert with_habits(CASE) == CASE


WEIGHTS = 494_032_768
"""Parameters of Qwen2.5-0.5B: 136,134,656 of the embedding, 24 x 14,912,384 of layers, 896."""


@pytest.mark.parametrize(
    ("given", "bytes_each"),
    [
        # LLaMA-Factory casts what it trains to fp32, and leaves a frozen base in half precision.
        ({"recipe": "llama-factory", "finetuning_type": "full"}, 4),
        ({"recipe": "llama-factory", "finetuning_type": "lora"}, 2),
        # Its pure_bf16 is a precision that was given.
        ({"recipe": "llama-factory", "finetuning_type": "full", "model_dtype": "bf16"}, 2),
        # DeepSpeed casts the model to half precision, whatever it was loaded in.
        (
            {
                "recipe": "llama-factory",
                "finetuning_type": "full",
                "zero_stage": 2,
                "world_size": 2,
            },
            2,
        ),
        # TRL loads a model that it knows by name in fp32, frozen or not.
        ({"recipe": "trl", "finetuning_type": "lora"}, 4),
        ({"recipe": "trl", "finetuning_type": "full"}, 4),
        ({"recipe": "trl", "finetuning_type": "lora", "model_dtype": "bf16"}, 2),
        ({"recipe": "transformers", "finetuning_type": "full"}, 2),
    ],
)
def test_weights_are_in_the_precision_that_the_trainer_keeps_them_in(
    given: dict[str, object], bytes_each: int
) -> None:
    """Where no precision of the weights was given."""
    found = read_case({"model": "qwen2.5-0.5b", "sequence_length": 512, **given}, {})
    parts = estimate_memory(found.architecture, found.settings, None).components
    (held,) = [part.bytes for part in parts if part.name == "base weights"]
    # Tensors begin at multiples of 512 bytes.
    assert held == pytest.approx(WEIGHTS * bytes_each, rel=1e-3)


def test_unsloth_takes_less_than_a_run_with_pefts_preparation() -> None:
    """Neither the logits of Qwen2.5's 151,936 words nor an embedding in fp32 are held."""
    plain, unsloth = case(recipe="transformers"), case(recipe="unsloth")
    held = [
        estimate_memory(each.architecture, each.settings, None).peak_allocated_bytes.expected
        for each in (plain, unsloth)
    ]
    assert held[0] - held[1] > 151_936 * 896 * 2  # the embedding in fp32 instead of fp16
    assert not unsloth.settings.base.upcasts


def test_the_bound_is_as_wide_as_runs_of_the_trainer_lay() -> None:
    """A forecast of axolotl, of which no ten runs are published, has the bound of all trainers."""
    found = case(recipe="axolotl")
    bare = estimate_memory(found.architecture, found.settings, None)
    wide = under(bare, found.recipe)
    assert wide.process_bytes.expected == bare.process_bytes.expected
    states = sum(part.bytes for part in bare.components if part.name in STATES)
    assert states > found.architecture.vocabulary.vocab_size * 896 * 2
    reserved = bare.peak_reserved_bytes.expected
    upper = states + round(SPREAD * (reserved - states))
    assert wide.peak_reserved_bytes.upper == upper
    outside = bare.process_bytes.expected - reserved
    assert wide.process_bytes.upper == upper + outside
    assert wide.host_bytes == bare.host_bytes
    assert wide.assumptions[-3].startswith("habits of axolotl where nothing was given: loss_kernel")
    assert under(bare, None) is bare


@pytest.mark.parametrize("name", [name for name in RECIPES if RECIPES[name].uses_accelerate])
def test_fsdp_of_trainers_on_accelerate_wraps_the_model_whole(name: str) -> None:
    """TRL slices adapters as well and gathers the tables; a person may say otherwise."""
    several = {"world_size": 2, "fsdp": True, "recipe": name}
    found = case(**several)
    assert found.settings.sharding.fsdp_whole_model
    assert found.recipe is not None
    assert "fsdp_whole_model on" in found.recipe.assumptions[0]
    assert not case(**several, fsdp_whole_model=False).settings.sharding.fsdp_whole_model


def test_a_trainer_without_fsdp_wraps_nothing() -> None:
    """The habit is of FSDP2 alone, and of those that accelerate runs: torchtune has its own."""
    assert not case(recipe="trl", world_size=2).settings.sharding.fsdp_whole_model
    own = case(recipe="torchtune", world_size=2, fsdp=True, gradient_checkpointing=True)
    assert not own.settings.sharding.fsdp_whole_model
    assert not case(world_size=2, fsdp=True).settings.sharding.fsdp_whole_model


def test_an_unknown_trainer_is_refused_with_those_that_are_known() -> None:
    """A slip of the pen gets the name that was meant."""
    with pytest.raises(UsageError, match=r'unslot.*litgpt.*Did you mean "unsloth"'):
        recipe_named("unslot")
    with pytest.raises(UsageError, match="name of a trainer"):
        recipe_named(3)


def test_ligers_kernels_bring_their_loss_to_every_trainer() -> None:
    """Trainer's flag replaces the loss as well, unless a person says which one runs."""
    patched = with_habits({"recipe": "transformers", "kernels": "liger"})
    assert "loss_kernel" not in patched
    kept = with_habits({"recipe": "transformers", "kernels": "liger", "loss_kernel": "plain"})
    assert kept["loss_kernel"] == "plain"
