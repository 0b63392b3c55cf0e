"""Events of a decoder layer and of the lm_head: what they leave, added up."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from memory_models.activations.decoder_layer import layer_memory
from memory_models.activations.events import Events, LayerEvents, layer_events, lm_head_events
from memory_models.settings import (
    FinetuningType,
    LossKernel,
    TrainingSettings,
    changed,
    from_flat,
)
from memory_models.symbolic import ALLOC, WORKSPACE, Event, Size, times, total
from tests.support.toy_decoder import TOY

KEPT = from_flat(TrainingSettings, lora_rank=2, gradient_checkpointing=False)
CHECKPOINTED = changed(KEPT, gradient_checkpointing=True)
FULL = changed(KEPT, finetuning_type=FinetuningType.FULL)
STREAM = Size(per_token=16)
"""Eight elements per token in bf16."""
ADAPTERS = 256
"""Elements of the adapters of one layer: 2 x (in + out) of seven linears."""


def added(events: Events) -> Size:
    """The sum of what events allocate and free."""
    return total(times(size, sign) for sign, size in events)


def allocations(events: Sequence[Event]) -> int:
    """Number of tensors that are allocated."""
    return sum(sign == ALLOC for sign, _ in events)


def of(settings: TrainingSettings, *, accumulates: bool = False) -> LayerEvents:
    """Events of one layer of the toy."""
    trained = settings.method.trains_base
    return layer_events(TOY, settings.layer, trained=trained, masked=False, accumulates=accumulates)


@pytest.mark.parametrize("method", FinetuningType)
def test_forward_leaves_what_the_layer_keeps_and_frees_its_input(method: FinetuningType) -> None:
    """Levels and events come from one tape: the output comes and the input goes, 16 each."""
    settings = changed(KEPT, finetuning_type=method)
    memory = layer_memory(TOY, settings.layer, trained=settings.method.trains_base)
    kept = total(times(size, count) for size, count in memory.kept)
    assert added(of(settings).forward) == kept


@pytest.mark.parametrize("settings", [KEPT, CHECKPOINTED], ids=["kept", "checkpointed"])
@pytest.mark.parametrize(
    ("method", "left"),
    [(FinetuningType.LORA, 4 * ADAPTERS), (FinetuningType.FULL, 2 * (576 + 16))],
)
def test_a_layer_leaves_the_gradients_of_its_parameters(
    settings: TrainingSettings, method: FinetuningType, left: int
) -> None:
    """fp32 for adapters, bf16 for the layer's own 576 elements; norms are not in the program.

    With a checkpoint, backward frees the recomputed input, and the replay frees the checkpoint.
    """
    events = of(changed(settings, finetuning_type=method))
    found = added((*events.forward, *events.backward, *events.cached))
    norms = 2 * 16 if method is FinetuningType.FULL else 0
    checkpoint = 16 if settings is CHECKPOINTED else 0
    assert found == Size(per_token=checkpoint, constant=left - norms)


def test_accumulated_gradients_leave_nothing_new() -> None:
    """They are added to those that are there."""
    events = of(KEPT, accumulates=True)
    assert added((*events.forward, *events.backward)) == Size()


def test_net_events_add_up_to_all_events() -> None:
    """Layers in the middle of a model are replayed by their net events alone."""
    for settings in (KEPT, CHECKPOINTED, FULL):
        events = of(settings)
        assert added(events.kept) == added(events.forward)
        assert added(events.left) == added(events.backward)


def test_a_checkpointed_forward_leaves_its_output_and_autocasts_casts() -> None:
    """Beside the checkpoint; the casts, two bytes per adapter element, go when forward ends."""
    events = of(CHECKPOINTED)
    assert added(events.forward) == total((STREAM, Size(constant=2 * ADAPTERS)))
    assert added(events.cached) == Size(constant=-2 * ADAPTERS)


@pytest.mark.parametrize(
    ("method", "kernel"),
    [
        (FinetuningType.LORA, LossKernel.PLAIN),
        (FinetuningType.LORA, LossKernel.FUSED),
        (FinetuningType.ADALORA, LossKernel.PLAIN),
        (FinetuningType.ADALORA, LossKernel.FUSED),
    ],
)
def test_backwards_thread_takes_one_workspace_in_the_first_micro_batch(
    method: FinetuningType, kernel: LossKernel
) -> None:
    """Where AdaLoRA's regularizer runs, its products are the first."""
    head = changed(KEPT, loss_kernel=kernel, finetuning_type=method).head
    first = lm_head_events(TOY, head, accumulates=False, first=True)
    later = lm_head_events(TOY, head, accumulates=False, first=False)
    assert [events.count(WORKSPACE) for events in (*first, *later)] == [0, 1, 0, 0]


@pytest.mark.parametrize("kernel", LossKernel)
def test_the_loss_takes_the_last_output_and_gives_a_gradient_of_its_size(
    kernel: LossKernel,
) -> None:
    """A frozen head leaves nothing else; a trained one its gradient, 256 elements in bf16."""
    for settings, left in ((KEPT, 0), (FULL, 512)):
        head = changed(settings, loss_kernel=kernel).head
        forward, backward = lm_head_events(TOY, head, accumulates=False, first=False)
        assert added((*forward, *backward)) == Size(constant=left)
