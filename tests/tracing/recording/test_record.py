"""A recording at a few sizes."""

from __future__ import annotations

import pytest

pytest.importorskip("peft")

from memory_models.activations.events import net
from memory_models.recorded.recording import Recipe, recipe_of
from memory_models.settings import Attention, TrainingSettings, from_flat
from memory_models.symbolic import ALLOC, Size
from tests.support.shrunk import config_of
from tsplanner.tracing.recording.fit import Point
from tsplanner.tracing.recording.record import training_settings
from tsplanner.tracing.recording.stranger import Stranger
from tsplanner.tracing.records import Subject

LLAMA = Subject(config={**config_of("llama"), "rope_theta": 1e4})


def recipe(*, one_row: bool = False, **settings: object) -> Recipe:
    """A recipe of LoRA on every linear."""
    return recipe_of(from_flat(TrainingSettings, **settings).layer, masked=False, one_row=one_row)


def test_the_stream_between_layers_is_as_wide_as_the_model() -> None:
    """64 elements of two bytes per token."""
    found = Stranger(LLAMA).record(recipe(gradient_checkpointing=False))
    assert found.stream == Size(per_token=128)
    assert found.any_rows


def test_a_checkpointed_layer_keeps_nothing_of_its_own() -> None:
    """Its input is the checkpoint, which the totals of all layers count."""
    found = Stranger(LLAMA).record(recipe(gradient_checkpointing=True))
    assert [layer.kept for layer in found.layers] == [(), ()]


def test_eager_attention_copies_for_several_rows_what_one_row_views() -> None:
    """So one row has a recording of its own, and scores are kept per head."""
    stranger = Stranger(LLAMA)
    asked = {"gradient_checkpointing": False, "attention": Attention.EAGER}
    several, one = (stranger.record(recipe(one_row=flag, **asked)) for flag in (False, True))
    assert not several.any_rows
    assert not one.any_rows
    units = [size.per_unit for size, _ in several.layers[-1].kept if size.per_unit]
    # Four heads: the softmax in fp32, and its copy in bf16 for the product.
    assert sorted(units) == [4 * 2, 4 * 4]


def test_a_run_under_a_recipe_has_two_micro_batches() -> None:
    """The second finds gradients."""
    found = training_settings(recipe(), Point(3, 64))
    assert found.batch.gradient_accumulation_steps == 2
    assert found.tokens == 3 * 64


def test_gradients_of_weights_are_left_to_the_optimizer() -> None:
    """Rank 8 on q of 64 x 64: A and B of 512 fp32 elements stay after the first backward alone."""
    found = Stranger(LLAMA).record(recipe(lora_rank=8, lora_target=("q_proj",)))
    layer = found.layers[-1]
    for backward, left in ((layer.backward, 2), (layer.accumulating, 0)):
        weights = [(sign, size) for sign, size in net(backward) if size == Size(constant=2048)]
        assert weights == [(ALLOC, Size(constant=2048))] * left
