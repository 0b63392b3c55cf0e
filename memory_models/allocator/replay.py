"""Reserved bytes: the events of two optimizer steps, replayed through the caching allocator.

The tapes give the order of allocations and frees; the allocator's rules (``caching_allocator.py``)
give the segments that this order leaves reserved. Of layers in the middle of the model only the
kept tensors are replayed, because their temporaries fit the holes that the outer layers made.
Ignores: single tensors of at most 1 MiB (the replay sums up their pool), the order of loading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from memory_models.activations.encoder import encoder_tensors
from memory_models.activations.events import (
    Events,
    LayerEvents,
    layer_events,
    lm_head_events,
)
from memory_models.activations.layers import layers_in_turn, mask_bytes, recomputed_layers
from memory_models.activations.lm_head import fused_rows
from memory_models.allocator.event_player import Replayed, Sized, load_model, small_share
from memory_models.allocator.passages import Large
from memory_models.architecture import Architecture
from memory_models.recorded.totals import before_layers_bytes, recorded_events, stream_bytes
from memory_models.rounding import SMALL_REQUEST, SMALL_SEGMENT
from memory_models.settings import FinetuningType, Optimizer, StateSettings, TrainingSettings
from memory_models.sharding.gradients import copied_embedding_gradient_bytes, trained_layers
from memory_models.sharding.held_gradients import gradients
from memory_models.sharding.partition import in_order
from memory_models.states.layer_inputs import boundary_bytes, int8_input_bytes, int8_kept_bytes
from memory_models.states.optimizer import (
    ADALORA_IMPORTANCE_BYTES,
    PAGED,
    STATE_BYTES,
    element_bytes,
    step_transient_bytes,
    tied_sum_in_place,
    trained_element_bytes,
    trained_tensors,
)
from memory_models.step_order import StepPhase, step_order
from memory_models.symbolic import ALLOC
from memory_models.units import MIB, round_up

STEPS = 2
"""The second step sees the optimizer's states, and the cuBLAS workspace where the logits lay."""
MICRO_BATCHES = 2
"""The second micro-batch sees gradients of the first; later ones repeat it."""
OUTER_LAYERS = 2
"""Layers at either end of the model whose temporaries are replayed."""
INT8_GROUPS = 4
"""Tensors that the int8 products of one layer hold."""
MOMENTS = 2
"""State tensors of an optimizer per trained tensor."""
FP32_BYTES = 4


MOST_REPLAYS = 1024
"""Replays that are kept: the same plan again, or with another price, replays nothing."""


@lru_cache(maxsize=MOST_REPLAYS)
def reserved_bytes(
    architecture: Architecture, settings: TrainingSettings, workspace: int = 32 * MIB
) -> int:
    """Peak of the reserved bytes of one process, in whole segments.

    Takes what ``effective_settings`` returns. ``workspace``: bytes of one cuBLAS workspace; the
    threads of forward and backward have one each. The second workspace lands in the freed logits
    for good, so the logits of the next step need a new segment.
    """
    replay = Replayed(architecture, settings, workspace)
    load_model(replay)
    step = StepEvents(replay)
    for number in range(STEPS):
        step.run(first=number == 0)
    # Both hold their own owner, and thousands of replays would wait for the garbage collector.
    del replay.processes, step.handlers
    return replay.allocator.peak_reserved + round_up(replay.most_small, SMALL_SEGMENT)


class _MicroBatch(NamedTuple):
    """The events of one micro-batch."""

    layers: tuple[LayerEvents, ...]
    """Events of every layer that takes part in backward, from the first to the last."""
    head_forward: Events
    """Events of last norm, lm_head and loss in forward."""
    head_backward: Events
    """Events of last norm, lm_head and loss in backward."""
    accumulates: bool
    """Parameters have gradients before backward."""
    regularised: bool
    """AdaLoRA's regularizer leaves a gradient of every adapter before backward."""


class StepEvents:
    """The events of one optimizer step after another, phase by phase."""

    def __init__(self, replay: Replayed) -> None:
        self.replay, self.shape, self.settings = replay, replay.shape, replay.settings
        self.states, self.method = replay.states, self.settings.method
        self.element = trained_element_bytes(self.states)
        self.tensors = trained_tensors(self.shape, self.method)
        recorded = self.shape.layer.recorded
        self.boundary = (stream_bytes if recorded else boundary_bytes)(self.shape, self.settings)
        self.masks = (before_layers_bytes if recorded else mask_bytes)(self.shape, self.settings)
        again = self.settings.batch.gradient_checkpointing
        held = int8_input_bytes if again else int8_kept_bytes
        self.held = held(self.shape, self.settings) // INT8_GROUPS
        self.trained_layers = trained_layers(self.shape, self.states)
        self.recomputed = recomputed_layers(self.shape, self.settings)
        self.mixed = self.settings.batch.checkpointed_layers is not None
        self.rows = fused_rows(self.shape, self.settings)
        self.handlers: dict[StepPhase, Callable[[_MicroBatch], None]] = {
            StepPhase.FORWARD: self._forward,
            StepPhase.FORWARD_LOSS: self._forward_loss,
            StepPhase.LOSS: self._loss,
            StepPhase.HEAD: self._head,
            StepPhase.LAST_LAYER: self._last_layer,
            StepPhase.LAST_CHECKPOINT: self._last_checkpoint,
            StepPhase.FIRST_LAYER: self._first_layer,
            StepPhase.EMBEDDING: self._embedding,
        }
        """The function that replays each phase of a micro-batch."""

    def run(self, *, first: bool) -> None:
        """Replay the micro-batches and the optimizer's step; ``first``: of the whole training."""
        number = min(MICRO_BATCHES, self.settings.batch.gradient_accumulation_steps)
        batches = iter(self._micro_batches(number, first=first))
        reduces_head = gradients(self.shape, self.states).head > 0
        batch: _MicroBatch | None = None
        for phase in step_order(mixed=self.mixed, reduces_head=reduces_head, micro_batches=number):
            if phase is StepPhase.STEP:
                self._step(first=first)
                continue
            if phase is StepPhase.FORWARD or batch is None:
                batch = next(batches)
            self.handlers[phase](batch)

    def _micro_batches(self, number: int, *, first: bool) -> Iterator[_MicroBatch]:
        """The events of each micro-batch, made when that micro-batch begins."""
        adalora = self.method.is_adalora
        tied = self.shape.vocabulary.tie_word_embeddings and self.method.trains_everything
        for micro in range(number):
            self.replay.processes.boundary = micro == number - 1
            # AdaLoRA's regularizer leaves gradients before backward, as an earlier batch does.
            accumulates = micro > 0 or adalora or self.settings.sharding.shards_gradients
            forward, backward = lm_head_events(
                self.shape,
                self.settings.head,
                accumulates=accumulates and not tied,
                first=first and micro == 0,
            )
            yield _MicroBatch(
                layers=tuple(self._layers(accumulates=accumulates)),
                head_forward=forward,
                head_backward=backward,
                accumulates=accumulates,
                regularised=adalora and micro == 0,
            )

    def _layers(self, *, accumulates: bool) -> Iterator[LayerEvents]:
        """Events of every layer that takes part in backward, from the first to the last."""
        if self.shape.layer.recorded:
            yield from recorded_events(self.shape, self.settings, accumulates=accumulates)
            return
        turns = layers_in_turn(self.shape, self.settings)
        freezes = self.method.finetuning_type is FinetuningType.FREEZE
        frozen = len(turns) - self.method.freeze_trainable_layers if freezes else 0
        # The layers of a model repeat a few programs, and to look one up compares whole records.
        known: dict[tuple[int, bool, bool], LayerEvents] = {}
        for place, (layer, masked) in enumerate(turns):
            trained = self.method.trains_base and place >= frozen
            found = known.get((id(layer), trained, masked))
            if found is None:
                found = known[id(layer), trained, masked] = layer_events(
                    self.shape, layer, trained=trained, masked=masked, accumulates=accumulates
                )
            yield found

    def _is_outer(self, place: int, last: int) -> bool:
        """Whether a layer's temporaries are replayed: at either end, and where checkpoints end."""
        if place < OUTER_LAYERS or place > last - OUTER_LAYERS:
            return True
        turn = self.settings.batch.checkpointed_layers
        return turn is not None and turn - OUTER_LAYERS < place <= turn

    def _forward(self, batch: _MicroBatch) -> None:
        replay, processes = self.replay, self.replay.processes
        # Masks are made before the layers and passed to all of them, so they live to the end.
        replay.alloc(self.masks)
        processes.embedding_begins()
        for size, copies in encoder_tensors(self.shape, self.settings):
            replay.alloc(size, copies)
        replay.alloc(self.boundary)
        processes.embedding_ends()
        last = len(batch.layers) - 1
        for place, layer in enumerate(batch.layers):
            processes.enter(place, last + 1, 1)
            replay.play(layer.forward if self._is_outer(place, last) else layer.kept)
            replay.alloc(self.held, INT8_GROUPS)
            processes.leave()

    def _forward_loss(self, batch: _MicroBatch) -> None:
        self.replay.processes.loss_begins()
        self.replay.play(batch.head_forward, self.rows)
        # Autocast's context ends after the loss, and with it the cache of casts.
        for cached in filter(None, (layer.cached for layer in batch.layers)):
            self.replay.play(cached)

    def _loss(self, batch: _MicroBatch) -> None:
        if batch.regularised:
            for tensor in self.tensors:
                self.replay.alloc(
                    tensor.elements * element_bytes(tensor, self.states), tensor.copies
                )
        self.replay.play(batch.head_backward, self.rows)
        self.replay.processes.loss_ends()

    def _head(self, batch: _MicroBatch) -> None:
        """Replay nothing: the events of the lm_head end with the gradient that is reduced here."""

    def _last_layer(self, batch: _MicroBatch) -> None:
        self.replay.processes.backward_begins()
        stop = self.recomputed if self.mixed else 1
        self._backward(batch, range(len(batch.layers) - 1, stop - 1, -1))

    def _last_checkpoint(self, batch: _MicroBatch) -> None:
        self._backward(batch, range(self.recomputed - 1, 0, -1))

    def _first_layer(self, batch: _MicroBatch) -> None:
        self._backward(batch, range(1))
        self.replay.free(self.boundary)
        for size, copies in encoder_tensors(self.shape, self.settings):
            self.replay.free(size, copies)

    def _backward(self, batch: _MicroBatch, places: range) -> None:
        """The backward of some layers, from above to below."""
        replay, processes, last = self.replay, self.replay.processes, len(batch.layers) - 1
        for place in places:
            processes.enter(place, last + 1, -1)
            outer = self._is_outer(place, last)
            replay.play(batch.layers[place].backward if outer else batch.layers[place].left)
            replay.free(self.held, INT8_GROUPS)
            if place < self.recomputed:
                replay.free(self.boundary)
            if last - place < self.trained_layers:
                processes.reduce_layer(outer=outer)
            processes.leave()

    def _embedding(self, batch: _MicroBatch) -> None:
        if self.method.trains_everything:
            self._embedding_gradient(accumulates=batch.accumulates)
        elif size := copied_embedding_gradient_bytes(self.shape, self.states):
            self.replay.alloc(size)
            self.replay.free(size, int(batch.accumulates))
        self.replay.processes.backward_ends()
        self.replay.free(self.masks)

    def _embedding_gradient(self, *, accumulates: bool) -> None:
        """The embedding's gradient; the gradient of a tied lm_head waits for it."""
        size = self.shape.vocabulary.vocab_size * self.shape.hidden_size * self.element
        self.replay.alloc(size)
        if not self.shape.vocabulary.tie_word_embeddings:
            self.replay.free(size, int(accumulates))
            self.replay.processes.reduce_embedding()
            return
        if not tied_sum_in_place(self.states):
            self.replay.alloc(size)
            self.replay.free(size)
        self.replay.free(size, 1 + int(accumulates))
        self.replay.processes.reduce_embedding()

    def _step(self, *, first: bool) -> None:
        if self.settings.sharding.zero_stage:
            self.replay.processes.step(first=first)
            return
        # Optimizers make their states lazily, in the first step, when most memory is free.
        if first:
            self.replay.play_sized(_optimizer_states(self.shape, self.states))
        self._optimizer()
        for tensor in self.tensors:
            self.replay.free(tensor.elements * element_bytes(tensor, self.states), tensor.copies)

    def _optimizer(self) -> None:
        """Temporaries of the optimizer: all at once if it steps all tensors at once."""
        transient = step_transient_bytes(self.shape, self.states)
        if self.settings.kernels.optimizer is Optimizer.ADAFACTOR:
            largest = FP32_BYTES * max(tensor.elements for tensor in self.tensors)
            self.replay.alloc(largest, transient // largest)
            self.replay.free(largest, transient // largest)
            return
        for tensor in self.tensors if transient else ():
            self.replay.alloc(tensor.elements * element_bytes(tensor, self.states), tensor.copies)
        for tensor in self.tensors if transient else ():
            self.replay.free(tensor.elements * element_bytes(tensor, self.states), tensor.copies)


@lru_cache(maxsize=256)
def _optimizer_states(shape: Architecture, states: StateSettings) -> Sized:
    """The states of every trained tensor, in order, which no length and no batch changes.

    A tensor has two moments; AdaLoRA's importance takes three more in fp32.
    """
    large: list[Large] = []
    small = 0
    for tensor in in_order(trained_tensors(shape, states.method)):
        element, paged = element_bytes(tensor, states), states.optimizer in PAGED
        bytes_all = STATE_BYTES[states.optimizer](tensor, element, paged=paged)
        sizes = [bytes_all // MOMENTS] * MOMENTS
        if states.method.is_adalora and not tensor.copied:
            sizes += [tensor.elements * FP32_BYTES] * (ADALORA_IMPORTANCE_BYTES // FP32_BYTES)
        large += [(ALLOC, size, ()) for size in sizes if size > SMALL_REQUEST]
        small += sum(small_share(size) for size in sizes if size <= SMALL_REQUEST)
    return Sized(tuple(large), small, small)
