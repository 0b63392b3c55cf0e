"""The modules of a step under ZeRO-3, and how many layers stand for all."""

from __future__ import annotations

from memory_models.architecture import Architecture
from memory_models.settings import FinetuningType, TrainingSettings, changed, from_flat
from memory_models.sharding.deepspeed_config import Limits, limits
from memory_models.sharding.gather_trace import (
    MOST_TRACED_LAYERS,
    layer_tensors,
    trace_of,
    traced_layers,
    untraced_bytes,
)
from memory_models.states.weights import layer_parameters
from tests.support.toy_decoder import WIDE

FULL = from_flat(
    TrainingSettings,
    finetuning_type=FinetuningType.FULL,
    zero_stage=3,
    world_size=2,
    gradient_checkpointing=False,
).layer
BLOCK = 256 * 256 * 2 + 256 * 128 * 2 + 3 * 256 * 512
"""Elements of one block's seven matrices."""


def deep(layers: int) -> Architecture:
    """The wide toy with more layers."""
    return changed(WIDE, num_hidden_layers=layers)


def of_layers(architecture: Architecture, count: float) -> Limits:
    """Limits that let so many layers be gathered."""
    live = int(count * layer_parameters(architecture))
    return limits(architecture)._replace(live=live, reuse=live)


def test_a_step_visits_every_matrix_forward_and_backward() -> None:
    """Seven matrices of four layers twice, the embedding at either end, the head twice."""
    shape = deep(4)
    visits = list(trace_of(shape, FULL, limits(shape)))
    assert len(visits) == 2 * 4 * 7 + 4
    assert [visit.phase for visit in visits[:1] + visits[-1:]] == ["begin", "end"]
    assert sum(elements for elements, _ in layer_tensors(shape, FULL, 2)) == BLOCK


def test_our_own_limits_need_six_layers_and_larger_ones_more() -> None:
    """As many as may be gathered, four beside them, never more than there are."""
    shape = deep(80)
    assert traced_layers(shape, limits(shape)) == 6
    assert traced_layers(shape, of_layers(shape, 10.5)) == 14
    assert traced_layers(deep(8), of_layers(shape, 10.5)) == 8
    assert traced_layers(shape, of_layers(shape, 1000)) == MOST_TRACED_LAYERS == 32


def test_layers_beyond_the_trace_are_added_as_far_as_the_limit_allows() -> None:
    """80 layers that may all be gathered: 48 more than are traced, two bytes an element."""
    shape = deep(80)
    assert untraced_bytes(shape, FULL, limits(shape)) == 0
    assert untraced_bytes(shape, FULL, of_layers(shape, 1000)) == 48 * 2 * BLOCK
    some = of_layers(shape, 40)
    assert untraced_bytes(shape, FULL, some) == 2 * (some.live - 32 * BLOCK)
