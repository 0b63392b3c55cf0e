"""A recorded layer gives the core what a formula's layer gives."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.recorded.recording import (
    Recipe,
    RecordedLayer,
    Recording,
    is_known,
    layer_events_of,
    layer_memory_of,
    make_known,
    recipe_of,
    recording,
)
from memory_models.settings import BaseStorage, Dtype, Method, TrainingSettings
from memory_models.symbolic import ALLOC, FREE, Size

STREAM = Size(per_token=8)
KEPT = Size(per_token=16)
WORK = Size(per_token=32)
GRADIENT = Size(constant=100)
LAYER = RecordedLayer(
    # The layer's result, a tensor that stays, one that passes, and the end of the input.
    forward=((ALLOC, STREAM), (ALLOC, KEPT), (ALLOC, WORK), (FREE, WORK), (FREE, STREAM)),
    kept=((KEPT, 1),),
    backward=((ALLOC, WORK), (ALLOC, GRADIENT), (FREE, KEPT), (FREE, WORK)),
    accumulating=((ALLOC, WORK), (ALLOC, GRADIENT), (FREE, GRADIENT), (FREE, KEPT), (FREE, WORK)),
)
RECORDING = Recording(layers=(LAYER,), pattern=(0, 0), stream=STREAM)


def test_forward_peaks_where_most_tensors_are_alive() -> None:
    """Input 8, result 8, kept 16 and passing 32 bytes per token."""
    found = layer_memory_of(LAYER, STREAM, checkpointed=False, accumulates=False)
    assert found.forward.bytes(10, 0) == 10 * (8 + 8 + 16 + 32)


def test_backward_begins_with_what_was_kept_and_the_gradient_of_the_result() -> None:
    """The gradient has the width of the stream: 8 + 16 + 32 per token, and 100 of a parameter."""
    found = layer_memory_of(LAYER, STREAM, checkpointed=False, accumulates=False)
    assert found.backward.bytes(10, 0) == 10 * (8 + 16 + 32) + 100


def test_the_input_of_a_checkpointed_layer_counts_elsewhere() -> None:
    """Its checkpoint is counted with those of all layers."""
    layer = replace(LAYER, kept=())
    found = layer_memory_of(layer, STREAM, checkpointed=True, accumulates=False)
    assert found.forward.bytes(10, 0) == 10 * (8 + 16 + 32)
    assert found.backward.bytes(10, 0) == 10 * (8 + 32) + 100


def test_the_net_effect_of_backward_is_what_it_leaves() -> None:
    """A first micro-batch leaves the parameter's gradient, a later one does not."""
    first = layer_events_of(LAYER, accumulates=False)
    later = layer_events_of(LAYER, accumulates=True)
    assert set(first.left) == {(ALLOC, GRADIENT), (FREE, KEPT)}
    assert set(later.left) == {(FREE, KEPT)}


def test_a_source_is_asked_once_per_recipe() -> None:
    """Recordings are slow to make."""
    asked: list[Recipe] = []

    def source(recipe: Recipe) -> Recording:
        asked.append(recipe)
        return RECORDING

    make_known("counted", source)
    recipe = recipe_of(TrainingSettings().layer, masked=False)
    assert recording("counted", recipe) is recording("counted", recipe) is RECORDING
    assert asked == [recipe]
    assert is_known("counted")


def test_an_unknown_key_is_one_sentence() -> None:
    """A plan of another machine may hold layers that nobody here has recorded."""
    recipe = recipe_of(TrainingSettings().layer, masked=False)
    with pytest.raises(ValueError, match="no recording of them is at hand"):
        recording("never made known", recipe)


def test_alpha_and_accumulation_make_no_other_recipe() -> None:
    """Neither changes an event of forward."""
    plain = TrainingSettings(method=Method(lora_alpha=1.0))
    other = TrainingSettings(method=Method(lora_alpha=32.0))
    assert recipe_of(plain.layer, masked=False) == recipe_of(other.layer, masked=False)


def test_under_deepspeed_the_weights_are_cast_and_not_the_products() -> None:
    """The recipe is the same before and after ``effective_settings``."""
    base = BaseStorage(model_dtype=Dtype.FP32, autocast=Dtype.BF16)
    settings = TrainingSettings(base=base)
    layer = replace(settings.layer, arithmetic=replace(settings.layer.arithmetic, one_dtype=True))
    found = recipe_of(layer, masked=False).arithmetic.base
    assert found.model_dtype is Dtype.BF16
    assert found.autocast is None
