"""The order of a step: peaks are counted and events are replayed by one list of phases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import assume, given, settings

from memory_models.allocator.event_player import Replayed
from memory_models.allocator.replay import StepEvents
from memory_models.estimate import check
from memory_models.settings import TrainingSettings, changed, effective_settings
from memory_models.step_order import OPTIONAL, StepPhase, micro_batch_phases, step_order
from memory_models.step_phases import BY_PHASE, phase_peaks
from tests.support.drawn_settings import any_settings
from tests.support.toy_decoder import TOY

DEEP = replace(TOY, name="deep", num_hidden_layers=4)


def replayed_phases(values: TrainingSettings) -> list[StepPhase]:
    """The phases in the order in which one replayed step visits them."""
    step = StepEvents(Replayed(DEEP, values, workspace=512))
    visited: list[StepPhase] = []

    def noted(phase: StepPhase, handler: Callable[[Any], None]) -> Callable[[Any], None]:
        def visit(batch: Any) -> None:
            visited.append(phase)
            handler(batch)

        return visit

    step.handlers = {phase: noted(phase, handler) for phase, handler in step.handlers.items()}
    step.run(first=True)
    return [*visited, StepPhase.STEP]


@settings(max_examples=60, deadline=None)
@given(any_settings())
def test_peaks_and_replay_walk_through_the_same_phases_in_one_order(
    values: TrainingSettings,
) -> None:
    """Two micro-batches are replayed, of which the peaks count one."""
    for layers in (None, 2) if values.batch.gradient_checkpointing else (None,):
        asked = effective_settings(changed(values, checkpointed_layers=layers))
        try:
            check(DEEP, asked)
        except ValueError:
            assume(False)
        peaks = [peak.phase for peak in phase_peaks(DEEP, asked)]
        batches = min(2, asked.batch.gradient_accumulation_steps)
        assert replayed_phases(asked) == [*peaks[:-1] * batches, peaks[-1]]


def test_every_phase_of_a_step_is_counted_and_replayed() -> None:
    """Loading is no phase of a step; the optimizer's step is no phase of a micro-batch."""
    handlers = StepEvents(Replayed(DEEP, TrainingSettings(), workspace=512)).handlers
    assert set(BY_PHASE) == set(StepPhase) - {StepPhase.LOAD}
    assert set(handlers) == set(BY_PHASE) - {StepPhase.STEP}


def test_the_longest_order_has_every_phase_once() -> None:
    """Its order is that of the enumeration, which begins with loading."""
    longest = list(step_order(mixed=True, reduces_head=True))
    assert [StepPhase.LOAD, *longest] == list(StepPhase)


def test_phases_that_no_setting_asks_for_are_left_out() -> None:
    """What remains is what every configuration has."""
    shortest = set(step_order(mixed=False, reduces_head=False))
    assert shortest == set(StepPhase) - OPTIONAL


def test_the_optimizer_steps_once_after_all_micro_batches() -> None:
    """Three micro-batches repeat their phases three times."""
    once = list(micro_batch_phases(mixed=False, reduces_head=True))
    found = list(step_order(mixed=False, reduces_head=True, micro_batches=3))
    assert found == [*once * 3, StepPhase.STEP]


def test_the_head_is_reduced_between_loss_and_last_layer() -> None:
    """The last checkpoint runs between last and first layer."""
    found = list(micro_batch_phases(mixed=True, reduces_head=True))
    head, checkpoint = found.index(StepPhase.HEAD), found.index(StepPhase.LAST_CHECKPOINT)
    assert found[head - 1 : head + 2] == ["loss", "backward, head", "backward, last block"]
    assert found[checkpoint + 1] is StepPhase.FIRST_LAYER
