"""Reserved bytes: the events of two optimizer steps, replayed through the caching allocator.

The tapes say in which order tensors come and go; the allocator's rules (``caching_allocator.py``)
say what that leaves reserved. Blocks in the middle of the model come and go with what they keep
only: their temporaries find the holes that the outer blocks made.
Ignores: tensors of at most 1 MiB one by one (their pool is summed up), the order of loading.
"""

from __future__ import annotations

from collections import defaultdict

from memory_models.activations.encoder import encoder_tensors
from memory_models.activations.events import (
    Events,
    LayerEvents,
    layer_events,
    lm_head_events,
)
from memory_models.activations.layers import layers_in_turn, mask_bytes, recomputed_layers
from memory_models.activations.loss_chunks import fused_rows
from memory_models.activations.tape import WORKSPACE
from memory_models.allocator.caching_allocator import CachingAllocator
from memory_models.allocator.replay_distributed import Processes
from memory_models.architecture import Architecture
from memory_models.rounding import BLOCK_BYTES, SMALL_REQUEST, SMALL_SEGMENT
from memory_models.settings import Dtype, FinetuningType, Optimizer, TrainingSettings
from memory_models.sharding.gradients import trained_layers
from memory_models.sharding.partition import in_order
from memory_models.states.layer_inputs import boundary_bytes, int8_input_bytes
from memory_models.states.optimizer import (
    ADALORA_IMPORTANCE_BYTES,
    PAGED,
    STATE_BYTES,
    step_transient_bytes,
    tied_sum_in_place,
    trained_element_bytes,
    trained_tensors,
)
from memory_models.states.storage import BYTES
from memory_models.states.weights import base_tensors, quantized_linears, quantized_weight_bytes
from memory_models.units import MIB, round_up

STEPS = 2
OUTER_LAYERS = 2
"""Blocks at either end of the model whose temporaries are replayed."""
INT8_GROUPS = 4
"""Tensors that one block's int8 products hold."""


class _Replay:
    """The allocator, with tensors told apart by their size only (last come, first gone)."""

    def __init__(
        self, architecture: Architecture, settings: TrainingSettings, workspace: int
    ) -> None:
        self.shape, self.settings = architecture, settings
        self.workspace = workspace
        self.allocator = CachingAllocator(expandable=settings.kernels.expandable_segments)
        self.live: dict[int, list[int]] = defaultdict(list)
        self.number = 0
        self.small = self.most_small = 0
        self.states = settings.states
        self.tokens = settings.tokens
        self.scores = settings.scores
        self.processes = Processes(self, architecture, settings)

    def alloc(self, size: int, copies: int = 1) -> None:
        """Tensors come."""
        if size <= SMALL_REQUEST:
            self.small += small_share(size) * copies
            self.most_small = max(self.small, self.most_small)
            return
        for _ in range(copies):
            self.allocator.allocate(self.number, size)
            self.live[size].append(self.number)
            self.number += 1

    def free(self, size: int, copies: int = 1) -> None:
        """Tensors go."""
        if size <= SMALL_REQUEST:
            self.small -= small_share(size) * copies
            return
        held = self.live[size]
        for _ in range(min(copies, len(held))):
            self.allocator.release(held.pop())

    def empty_cache(self) -> None:
        """Free segments go back to the driver; DeepSpeed counts the peak from there on."""
        self.allocator.release_cached_blocks()
        self.allocator.peak_reserved = self.allocator.reserved

    def play(self, events: Events, third: int | None = None) -> None:
        """Symbolic events, for the step's tokens."""
        unit = self.scores if third is None else third
        count = self.tokens
        for event in events:
            if event is WORKSPACE:
                self.alloc(self.workspace)
                continue
            sign, (a, b, c) = event
            (self.alloc if sign > 0 else self.free)(a * count + b + c * unit)


def reserved_bytes(
    architecture: Architecture, settings: TrainingSettings, workspace: int = 32 * MIB
) -> int:
    """Peak of reserved bytes of one rank, in whole segments; settings as ``effective_settings``.

    ``workspace``: bytes of a cuBLAS workspace; forward's and backward's threads have one each. The
    second settles into the logits that are free by then, so the next step's need a new segment.
    """
    replay = _Replay(architecture, settings, workspace)
    _load(replay)
    step = _StepEvents(replay)
    for number in range(STEPS):
        step.run(first=number == 0)
    return replay.allocator.peak_reserved + round_up(replay.most_small, SMALL_SEGMENT)


def small_share(size: int) -> int:
    """Bytes of a small segment that one of many equal tensors takes, its part of the rest too."""
    return SMALL_SEGMENT // max(1, SMALL_SEGMENT // max(size, BLOCK_BYTES))


def _load(replay: _Replay) -> None:
    """Weights and adapters, block by block, then what several processes build on them."""
    if replay.settings.sharding.zero_stage == 3:
        replay.processes.load_sharded()
    else:
        _load_whole(replay)
    replay.alloc(replay.workspace)
    replay.processes.loaded()


def _load_whole(replay: _Replay) -> None:
    shape, settings = replay.shape, replay.settings
    quantization = settings.base.quantization
    element = BYTES[Dtype.FP32 if quantization is not None else settings.base.model_dtype]
    for elements, copies in base_tensors(shape):
        replay.alloc(elements * element, copies)
    linears = list(quantized_linears(shape))
    for _ in range(shape.num_hidden_layers):
        for linear, copies in linears:
            if copies == 1:
                continue
            if quantization is None:
                replay.alloc(linear.weight_count * element)
            else:
                replay.alloc(quantized_weight_bytes(linear, quantization))
    if settings.method.uses_adapter:
        for tensor in in_order(trained_tensors(shape, settings.method)):
            replay.alloc(tensor.elements * trained_element_bytes(replay.states))


class _StepEvents:
    """One optimizer step after another."""

    def __init__(self, replay: _Replay) -> None:
        self.replay, self.shape, self.settings = replay, replay.shape, replay.settings
        self.states, self.method = replay.states, self.settings.method
        self.element = trained_element_bytes(self.states)
        self.tensors = trained_tensors(self.shape, self.method)
        self.boundary = boundary_bytes(self.shape, self.settings)
        self.masks = mask_bytes(self.shape, self.settings)
        self.held = int8_input_bytes(self.shape, self.settings) // INT8_GROUPS
        self.trained_layers = trained_layers(self.shape, self.states)
        self.again = recomputed_layers(self.shape, self.settings)
        self.multiplied = False
        """Backward's thread has its workspace."""

    def run(self, *, first: bool) -> None:
        """Micro-batches, then the optimizer."""
        settings, replay = self.settings, self.replay
        adalora = self.method.is_adalora
        micro_batches = min(2, settings.batch.gradient_accumulation_steps)
        for micro in range(micro_batches):
            replay.processes.boundary = micro == micro_batches - 1
            self._micro_batch(accumulates=micro > 0 or adalora, regularised=adalora and micro == 0)
        if settings.sharding.zero_stage:
            replay.processes.step(first=first)
            return
        if first:
            for tensor in in_order(self.tensors):
                states = STATE_BYTES[settings.kernels.optimizer](
                    tensor, self.element, paged=settings.kernels.optimizer in PAGED
                )
                replay.alloc(states // 2, 2)
                if adalora:
                    replay.alloc(tensor.elements * 4, ADALORA_IMPORTANCE_BYTES // 4)
        self._optimizer()
        self._drop_gradients()

    def _drop_gradients(self) -> None:
        for tensor in self.tensors:
            self.replay.free(tensor.elements * self.element, tensor.copies)

    def _optimizer(self) -> None:
        """Temporaries of the optimizer: all at once where it works on all tensors at once."""
        transient = step_transient_bytes(self.shape, self.states)
        if self.settings.kernels.optimizer is Optimizer.ADAFACTOR:
            largest = max(tensor.elements for tensor in self.tensors)
            self.replay.alloc(4 * largest, transient // (4 * largest))
            self.replay.free(4 * largest, transient // (4 * largest))
            return
        for tensor in self.tensors if transient else ():
            self.replay.alloc(tensor.elements * self.element, tensor.copies)
        for tensor in self.tensors if transient else ():
            self.replay.free(tensor.elements * self.element, tensor.copies)

    def _kinds(self, *, accumulates: bool) -> list[LayerEvents]:
        """Events of every block that takes part in backward, from the first to the last."""
        turns = layers_in_turn(self.shape, self.settings)
        trained = [self.method.trains_base] * len(turns)
        if self.method.finetuning_type is FinetuningType.FREEZE:
            frozen = len(turns) - self.method.freeze_trainable_layers
            trained = [place >= frozen for place in range(len(turns))]
        return [
            layer_events(
                self.shape, layer, trained=is_trained, masked=masked, accumulates=accumulates
            )
            for (layer, masked), is_trained in zip(turns, trained, strict=True)
        ]

    def _outer(self, place: int, last: int) -> bool:
        """Whether a block's temporaries are replayed: at either end, and where checkpoints end."""
        if place < OUTER_LAYERS or place > last - OUTER_LAYERS:
            return True
        turn = self.settings.batch.checkpointed_layers
        return turn is not None and turn - OUTER_LAYERS < place <= turn

    def _micro_batch(self, *, accumulates: bool, regularised: bool) -> None:
        replay, shape, processes = self.replay, self.shape, self.replay.processes
        accumulates = accumulates or self.settings.sharding.shards_gradients
        blocks = self._kinds(accumulates=accumulates)
        last = len(blocks) - 1
        rows = fused_rows(shape, self.settings)
        tied = shape.vocabulary.tie_word_embeddings and self.method.trains_everything
        tail = lm_head_events(
            shape,
            self.settings.head,
            accumulates=accumulates and not tied,
            first=not self.multiplied,
        )
        self.multiplied = True
        replay.alloc(self.masks)
        processes.embedding_begins()
        for size, copies in encoder_tensors(shape, self.settings):
            replay.alloc(size, copies)
        replay.alloc(self.boundary)
        processes.embedding_ends()
        for place, block in enumerate(blocks):
            processes.enter(place, last + 1, 1)
            replay.play(block.forward if self._outer(place, last) else block.kept)
            replay.alloc(self.held, INT8_GROUPS)
            processes.leave()
        processes.loss_begins()
        replay.play(tail[0], rows)
        for block in blocks:
            replay.play(block.cached)
        if regularised:
            for tensor in self.tensors:
                replay.alloc(tensor.elements * self.element, tensor.copies)
        replay.play(tail[1], rows)
        processes.loss_ends()
        processes.backward_begins()
        self._backward(blocks, accumulates=accumulates)

    def _backward(self, blocks: list[LayerEvents], *, accumulates: bool) -> None:
        replay, last, processes = self.replay, len(blocks) - 1, self.replay.processes
        for place in range(last, -1, -1):
            processes.enter(place, last + 1, -1)
            outer = self._outer(place, last)
            replay.play(blocks[place].backward if outer else blocks[place].left)
            replay.free(self.held, INT8_GROUPS)
            if place < self.again:
                replay.free(self.boundary)
            if last - place < self.trained_layers:
                processes.reduce_layer(outer=outer)
            processes.leave()
        replay.free(self.boundary)
        for size, copies in encoder_tensors(self.shape, self.settings):
            replay.free(size, copies)
        self._embedding(accumulates=accumulates)
        processes.backward_ends()
        replay.free(self.masks)

    def _embedding(self, *, accumulates: bool) -> None:
        """The embedding's gradient; a tied head's waits for it."""
        if not self.method.trains_everything:
            return
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
