"""The simulated allocator, as the events of a training step play on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from memory_models.activations.events import (
    Events,
)
from memory_models.allocator.caching_allocator import CachingAllocator
from memory_models.allocator.replay_distributed import Processes
from memory_models.architecture import Architecture
from memory_models.rounding import BLOCK_BYTES, SMALL_REQUEST, SMALL_SEGMENT
from memory_models.settings import Dtype, TrainingSettings
from memory_models.sharding.partition import in_order
from memory_models.states.optimizer import trained_element_bytes, trained_tensors
from memory_models.states.storage import BYTES
from memory_models.states.weights import base_tensors, quantized_linears, quantized_weight_bytes
from memory_models.symbolic import ALLOC, WORKSPACE

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


class _Sized(NamedTuple):
    """Bytes of one large tensor, or of a run of small ones."""

    large: int
    """Allocated bytes; negative: freed bytes."""
    small: int = 0
    """What a run of small tensors adds to the small pool."""
    most_small: int = 0
    """The peak of that run above its start."""


class Replayed:
    """The simulated allocator; tensors of one size are freed in reverse order of allocation."""

    def __init__(
        self, architecture: Architecture, settings: TrainingSettings, workspace: int
    ) -> None:
        self.shape, self.settings = architecture, settings
        self.workspace = workspace
        self.allocator = CachingAllocator(expandable=settings.kernels.expandable_segments)
        self.live: dict[int, list[int]] = defaultdict(list)
        self.sized: dict[tuple[int, int], tuple[Events, tuple[_Sized, ...]]] = {}
        """Events that were played, and their bytes: the layers of a model repeat a few programs."""
        self.number = 0
        self.small = self.most_small = 0
        self.states = settings.states
        self.tokens = settings.tokens
        self.scores = settings.scores
        self.processes = Processes(self, architecture, settings)

    def alloc(self, size: int, copies: int = 1) -> None:
        """Allocate tensors of one size."""
        if size <= SMALL_REQUEST:
            self.small += small_share(size) * copies
            self.most_small = max(self.small, self.most_small)
            return
        for _ in range(copies):
            self._alloc_large(size)

    def _alloc_large(self, size: int) -> None:
        number = self.number
        self.allocator.allocate(number, size)
        self.live[size].append(number)
        self.number = number + 1

    def free(self, size: int, copies: int = 1) -> None:
        """Free tensors of one size."""
        if size <= SMALL_REQUEST:
            self.small -= small_share(size) * copies
            return
        for _ in range(copies):
            self._free_large(size)

    def _free_large(self, size: int) -> None:
        if held := self.live[size]:
            self.allocator.release(held.pop())

    def empty_cache(self) -> None:
        """Return free segments to the driver; the peak is counted from there on."""
        self.allocator.release_cached_blocks()
        self.allocator.peak_reserved = self.allocator.reserved

    def play(self, events: Events, units: int | None = None) -> None:
        """Play symbolic events for the step's tokens; ``units``: the third unit, None: scores."""
        units = self.scores if units is None else units
        known = self.sized.get((id(events), units))
        if known is None:
            known = self.sized[id(events), units] = (events, tuple(self._sized(events, units)))
        for large, small, most_small in known[1]:
            if large > 0:
                self._alloc_large(large)
            elif large < 0:
                self._free_large(-large)
            else:
                self.most_small = max(self.most_small, self.small + most_small)
                self.small += small

    def _sized(self, events: Events, units: int) -> Iterator[_Sized]:
        """The bytes of events; neighbouring small tensors are summed up."""
        small = most_small = 0
        for event in events:
            sign, size = ALLOC, self.workspace
            if event is not WORKSPACE:
                sign, (per_token, constant, per_unit) = event
                size = per_token * self.tokens + constant + per_unit * units
            if size <= SMALL_REQUEST:
                small += sign * small_share(size)
                most_small = max(most_small, small)
                continue
            if small or most_small:
                yield _Sized(0, small, most_small)
                small = most_small = 0
            yield _Sized(sign * size)
        yield _Sized(0, small, most_small)


@lru_cache(maxsize=4096)
def small_share(size: int) -> int:
    """Bytes of a small segment per tensor if many equal tensors share it, the rest included."""
    return SMALL_SEGMENT // max(1, SMALL_SEGMENT // max(size, BLOCK_BYTES))


def load_model(replay: Replayed) -> None:
    """Weights and adapters, layer by layer, then the buffers that several processes build."""
    if replay.settings.sharding.zero_stage == 3:
        replay.processes.load_sharded()
    else:
        _load_whole(replay)
    replay.alloc(replay.workspace)
    replay.processes.loaded()


def _load_whole(replay: Replayed) -> None:
    shape, settings = replay.shape, replay.settings
    quantization = settings.base.quantization
    # PEFT casts the unquantised parts of a quantised base to fp32.
    element = BYTES[Dtype.FP32 if settings.base.upcasts else settings.base.model_dtype]
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
