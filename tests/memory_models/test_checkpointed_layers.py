"""Stacks whose first layers are checkpointed and whose last ones keep everything."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from memory_models.activations.layers import layer_totals, layers_in_turn, recomputed_layers
from memory_models.allocator.replay import reserved_bytes
from memory_models.architecture import Architecture
from memory_models.bounds.intervals import reserved_interval
from memory_models.calibration import DEFAULT, Margin
from memory_models.estimate import estimate_memory
from memory_models.memory_traffic import traffic
from memory_models.rounding import block_bytes
from memory_models.settings import (
    FinetuningType,
    TrainingSettings,
    changed,
    effective_settings,
    from_flat,
)
from memory_models.sharding.all_gather import GatheredPeaks, gathered_peaks
from memory_models.states.layer_inputs import boundary_bytes, int8_input_bytes
from memory_models.step_phases import phase_peaks
from memory_models.units import MIB
from tests.support.drawn_settings import any_settings, intervals
from tests.support.toy_decoder import ALL, TOY

DEEP = replace(TOY, name="deep", num_hidden_layers=6)
SHORT = from_flat(TrainingSettings, sequence_length=10, micro_batch_size=3, lora_rank=2)
TWO = changed(SHORT, checkpointed_layers=2)
NONE = changed(SHORT, gradient_checkpointing=False)
KEPT = 6 * 1024 + 32 * 512
"""What one block of the toy keeps (activations/test_layers.py)."""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"checkpointed_layers": 0}, "checkpointed_layers must be at least 1"),
        ({"checkpointed_layers": 1, "gradient_checkpointing": False}, "needs gradient_check"),
    ],
)
def test_a_number_of_checkpoints_that_no_run_has_is_refused(
    changes: dict[str, object], words: str
) -> None:
    """None at all is what turning checkpointing off is for."""
    with pytest.raises(ValueError, match=words):
        changed(SHORT, **changes)  # type: ignore[arg-type]


def test_as_many_checkpoints_as_layers_are_refused() -> None:
    """All of them are the setting's absence: one way to say it."""
    with pytest.raises(ValueError, match="checkpointed_layers 6 is not below"):
        estimate_memory(DEEP, changed(SHORT, checkpointed_layers=6))


def test_the_first_layers_are_the_ones_that_run_again() -> None:
    """Two of six."""
    assert recomputed_layers(DEEP, TWO) == 2
    assert recomputed_layers(DEEP, SHORT) == 6
    assert recomputed_layers(DEEP, NONE) == 0
    again = [recipe.checkpointed for recipe, _ in layers_in_turn(DEEP, TWO)]
    assert again == [True, True, False, False, False, False]


def test_a_stack_keeps_checkpoints_below_and_tensors_above() -> None:
    """Two checkpoints of 512 bytes and four blocks; when a checkpoint is needed they are gone."""
    stack = layer_totals(DEEP, TWO)
    assert (stack.all_kept, stack.last_kept, stack.unrecomputed) == (
        2 * 512 + 4 * KEPT,
        KEPT,
        4 * KEPT,
    )
    assert (stack.below_unrecomputed, stack.below_trained, stack.boundary) == (2 * 512, 512, 0)
    assert stack.again == layer_totals(DEEP, SHORT).backward
    assert stack.backward == layer_totals(DEEP, NONE).backward


def test_frozen_layers_without_a_checkpoint_keep_less_than_trained_ones() -> None:
    """One of six is trained, so its weights' gradients need inputs that the other three lack."""
    freeze = changed(TWO, finetuning_type=FinetuningType.FREEZE, freeze_trainable_layers=1)
    stack = layer_totals(DEEP, freeze)
    frozen = (stack.unrecomputed - stack.last_kept) // 3
    assert 0 < frozen < stack.last_kept
    assert stack.below_trained == 2 * 512 + 3 * frozen
    assert stack.first_backward == stack.backward
    several = changed(freeze, freeze_trainable_layers=5)
    assert layer_totals(DEEP, several).below_trained == 2 * 512


def test_windowed_layers_have_their_share_above_the_checkpoints() -> None:
    """Three of six have a window: two of the four that are not checkpointed."""
    windowed = changed(DEEP, sliding_window=8, sliding_layers=3)
    masked = [mask for _, mask in layers_in_turn(windowed, TWO)]
    assert (sum(masked[:2]), sum(masked[2:])) == (1, 2)


def test_the_last_checkpoint_is_a_phase_of_its_own() -> None:
    """Gradients of the four blocks above are there, what they kept is gone."""
    full = changed(TWO, finetuning_type=FinetuningType.FULL)
    found = {peak.phase: peak for peak in phase_peaks(DEEP, full)}
    last, here = found["backward, last block"], found["backward, last checkpoint"]
    assert here.checkpoints == 2 * 512
    # Seven matrices and the norms, which count as one, of at most 512 bytes each.
    assert here.gradients - last.gradients == 4 * 8 * 512
    whole = phase_peaks(DEEP, changed(full, checkpointed_layers=None))
    assert "backward, last checkpoint" not in {peak.phase for peak in whole}


def test_gathered_parameters_are_those_of_either_kind_of_layer() -> None:
    """Under ZeRO-3 no instant has less than a stack of one kind."""
    sharded = effective_settings(changed(TWO, zero_stage=3, world_size=2))
    kinds = [gathered_peaks(DEEP, changed(sharded, checkpointed_layers=None).layer)]
    off = changed(sharded, checkpointed_layers=None, gradient_checkpointing=False)
    kinds.append(gathered_peaks(DEEP, off.layer))
    most = GatheredPeaks(*map(max, *kinds))
    found = {peak.phase: peak.gathered for peak in phase_peaks(DEEP, sharded)}
    assert found["backward, last block"] == most.last
    assert found["backward, first block"] == most.first


def test_what_is_written_lies_between_all_and_none_in_proportion() -> None:
    """Two checkpoints of six: a third of what recomputation writes."""
    some, every, none = (traffic(DEEP, each) for each in (TWO, SHORT, NONE))
    assert 3 * some.bytes == every.bytes + 2 * none.bytes
    assert 3 * some.tensors == every.tensors + 2 * none.tensors


def test_the_margin_is_that_of_each_kind_of_layer() -> None:
    """Of a scale of 100 MiB, 40 are what plain layers keep: 60 x 0.5 + 40 x 0.1 on top."""
    table = changed(
        DEFAULT,
        replayed={
            "adapter-checkpointed": Margin(expected=0.0, upper=0.5),
            "adapter-kept": Margin(expected=0.0, upper=0.1),
        },
    )
    found = reserved_interval(100 * MIB, 90 * MIB, TWO, table, 100 * MIB, unrecomputed=40 * MIB)
    assert (found.expected, found.upper) == (100 * MIB, 134 * MIB)


def test_reserved_bytes_lie_between_all_and_none() -> None:
    """Wide enough that tensors leave the small pool."""
    wide = replace(ALL[-1], num_hidden_layers=6)
    some = changed(TWO, sequence_length=2048, micro_batch_size=4)
    every = changed(some, checkpointed_layers=None)
    none = changed(every, gradient_checkpointing=False)
    sizes = [reserved_bytes(wide, each) for each in (every, some, none)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[1] < sizes[2]


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(ALL), any_settings(), st.integers(1, 5))
def test_bytes_never_fall_when_fewer_layers_are_checkpointed(
    architecture: Architecture, values: TrainingSettings, first: int
) -> None:
    """Fewer checkpoints, more bytes, but for the checkpoints themselves.

    Where one layer's backward is larger than all that the others keep, it alone decides, and
    beside it there are fewer checkpoints (of some tokens: a part in thousands of what it takes).
    """
    deep = replace(architecture, num_hidden_layers=6)
    every = changed(values, gradient_checkpointing=True)
    fewer = changed(every, checkpointed_layers=first)
    one_less = changed(every, checkpointed_layers=first + 1 if first < 5 else None)
    try:
        more, less = estimate_memory(deep, fewer), estimate_memory(deep, one_less)
    except ValueError:
        assume(False)
    run = effective_settings(every)
    checkpoint = block_bytes(boundary_bytes(deep, run)) + int8_input_bytes(deep, run)
    fallen = less.peak_allocated_bytes.expected - more.peak_allocated_bytes.expected
    assert fallen <= checkpoint
    for name, interval in intervals(less).items():
        # Reserved bytes are whole segments of 2 MiB, of which the checkpoint may have been one; no
        # margin is above 0.83, so that its bound is two.
        assert intervals(more)[name].upper >= interval.upper - 2 * (checkpoint + 2 * MIB), name
