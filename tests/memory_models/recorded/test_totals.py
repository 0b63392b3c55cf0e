"""Recorded layers together: what they keep, and where they peak."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.architecture import Architecture
from memory_models.estimate import estimate_memory
from memory_models.recorded.recording import Recipe, RecordedLayer, Recording, make_known
from memory_models.recorded.totals import (
    before_layers_bytes,
    forward_flops_of,
    recorded_events,
    recorded_totals,
)
from memory_models.settings import FinetuningType, LossKernel, TrainingSettings, from_flat
from memory_models.symbolic import ALLOC, FREE, Size
from tsplanner.models.source import read_model

STREAM, NARROW, WIDE = Size(per_token=512), Size(per_token=1024), Size(per_token=4096)


def layer(kept: Size) -> RecordedLayer:
    """A layer that keeps one tensor and peaks at twice that tensor in backward."""
    return RecordedLayer(
        forward=((ALLOC, kept), (ALLOC, STREAM), (FREE, STREAM)),
        kept=((kept, 1),),
        backward=((ALLOC, kept), (FREE, kept), (FREE, kept)),
        accumulating=((ALLOC, kept), (FREE, kept), (FREE, kept)),
        flops=Size(per_token=10, per_unit=1),
    )


def source(recipe: Recipe) -> Recording:
    """A wide layer below three narrow ones; checkpointed layers keep nothing."""
    kinds = (layer(WIDE), layer(NARROW))
    if recipe.checkpointed:
        kinds = tuple(replace(kind, kept=()) for kind in kinds)  # type: ignore[assignment]
    return Recording(layers=kinds, pattern=(0, 1, 1, 1), stream=STREAM, before=Size(per_token=3))


@pytest.fixture
def stranger() -> Architecture:
    """An architecture of four recorded layers."""
    make_known("four layers", source)
    found = replace(read_model("smollm2-135m").architecture, num_hidden_layers=4)
    return replace(found, layer=replace(found.layer, recorded="four layers"))


def settings(**given: object) -> TrainingSettings:
    """One row of 512 tokens."""
    return from_flat(TrainingSettings, sequence_length=512, **given)


def test_layers_keep_the_sum_of_what_each_keeps(stranger: Architecture) -> None:
    """One wide and three narrow layers, at 512 tokens."""
    found = recorded_totals(stranger, settings(gradient_checkpointing=False))
    assert found.all_kept == 512 * (4096 + 3 * 1024)
    assert found.last_kept == 512 * 1024


def test_the_peak_of_a_wide_layer_below_counts_where_it_is(stranger: Architecture) -> None:
    """The first layer peaks with its own tensors alone: gradient 512, kept 4096, work 4096."""
    found = recorded_totals(stranger, settings(gradient_checkpointing=False))
    assert found.first_backward == 512 * (512 + 2 * 4096)
    # The last layer lies above all others and peaks at gradient 512, kept 1024, work 1024.
    assert found.backward == 512 * (512 + 2 * 1024)


def test_checkpointed_layers_keep_their_inputs_alone(stranger: Architecture) -> None:
    """Four checkpoints, each the recorded stream of 512 bytes per token."""
    found = recorded_totals(stranger, settings(gradient_checkpointing=True))
    one = 512 * 512
    assert found.boundary == one
    assert found.all_kept == 4 * one


def test_of_mixed_layers_the_upper_ones_keep_their_tensors(stranger: Architecture) -> None:
    """One checkpoint, then three narrow layers."""
    found = recorded_totals(stranger, settings(checkpointed_layers=1))
    one = 512 * 512
    assert found.unrecomputed == 3 * 512 * 1024
    assert found.all_kept == one + 3 * 512 * 1024
    assert found.below_unrecomputed == one


def test_events_come_layer_by_layer(stranger: Architecture) -> None:
    """The wide layer is the first of four."""
    found = recorded_events(stranger, settings(gradient_checkpointing=False), accumulates=False)
    assert [events.forward[0][1] for events in found] == [WIDE, NARROW, NARROW, NARROW]


def test_masks_and_products_grow_with_the_row(stranger: Architecture) -> None:
    """3 bytes per token; 10 operations per token and one per score, in each of four layers."""
    asked = settings(gradient_checkpointing=False)
    assert before_layers_bytes(stranger, asked) == 512 * 3
    assert forward_flops_of(stranger, asked) == 4 * (512 * 10 + 512**2)


def test_an_estimate_counts_the_recorded_layers(stranger: Architecture) -> None:
    """The kept activations of the estimate are those of the recording and of the encoder's none."""
    found = estimate_memory(stranger, settings(gradient_checkpointing=False))
    kept = sum(part.bytes for part in found.components if part.name == "kept activations")
    assert kept == 512 * (4096 + 3 * 1024)


@pytest.mark.parametrize(
    "given", [{"finetuning_type": FinetuningType.FREEZE}, {"adapter_ranks": (4, 8)}]
)
def test_what_recordings_do_not_cover_is_refused(
    stranger: Architecture, given: dict[str, object]
) -> None:
    """Freeze has frozen layers below trained ones; several trials have linears of their own."""
    asked = settings(loss_kernel=LossKernel.FUSED, **given)
    with pytest.raises(ValueError, match="needs layers with a formula"):
        estimate_memory(stranger, asked)
