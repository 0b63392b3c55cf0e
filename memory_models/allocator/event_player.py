"""The simulated allocator, as the events of a training step play on it."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from typing import NamedTuple

from memory_models.activations.events import (
    Events,
)
from memory_models.allocator.caching_allocator import ADDRESS_BITS, SPARE, CachingAllocator
from memory_models.allocator.passages import PASSAGE, Large, Node, by_passages, sizes_of
from memory_models.allocator.replay_distributed import Processes
from memory_models.architecture import Architecture, Role
from memory_models.rounding import BLOCK_BYTES, SMALL_REQUEST, SMALL_SEGMENT
from memory_models.settings import Dtype, StateSettings, TrainingSettings
from memory_models.sharding.partition import in_order
from memory_models.states.optimizer import element_bytes, trained_tensors
from memory_models.states.storage import BYTES
from memory_models.states.weights import base_tensors, quantized_weight_bytes, stored_linears
from memory_models.symbolic import ALLOC, FREE


class Sized(NamedTuple):
    """Events in bytes. Small tensors have a pool of their own, so only their sum counts."""

    large: tuple[Large, ...]
    small: int = 0
    """What the small tensors add to the small pool."""
    most_small: int = 0
    """The peak of the small tensors above their start."""


class TensorMemory:
    """The simulated allocator; tensors of one size are freed in reverse order of allocation."""

    def __init__(self, *, expandable: bool) -> None:
        self.allocator = CachingAllocator(expandable=expandable)
        self.live: dict[int, list[int]] = defaultdict(list)
        """Addresses of the tensors of each size, in order of allocation."""
        self.small = self.most_small = 0

    def start_from(self, other: TensorMemory) -> None:
        """Take over the state of another memory, which stays as it is."""
        self.allocator = other.allocator.copy()
        self.live = defaultdict(list, {size: held[:] for size, held in other.live.items()})
        self.small, self.most_small = other.small, other.most_small

    def alloc(self, size: int, copies: int = 1) -> None:
        """Allocate tensors of one size."""
        if size <= SMALL_REQUEST:
            self.small += small_share(size) * copies
            self.most_small = max(self.small, self.most_small)
            return
        for _ in range(copies):
            self._alloc_large(size)

    def _alloc_large(self, size: int) -> None:
        self.live[size].append(self.allocator.allocate(size))

    def free(self, size: int, copies: int = 1) -> None:
        """Free tensors of one size."""
        if size <= SMALL_REQUEST:
            self.small -= small_share(size) * copies
            return
        for _ in range(copies):
            self._free_large(size)

    def _free_large(self, size: int) -> None:
        if held := self.live[size]:
            self.allocator.release(held.pop(), size)

    def play_sized(self, events: Sized) -> None:
        """Allocate and free tensors in order."""
        if events.large:
            self._play(events.large)
        most = self.small + events.most_small
        if most > self.most_small:  # noqa: PLR1730  as in CachingAllocator.allocate
            self.most_small = most
        self.small += events.small

    def _play(self, events: tuple[Large, ...]) -> None:
        allocate, release = self.allocator.allocate, self.allocator.release
        live, free = self.live, self.allocator.free_large
        for kind, size, inner in events:
            if kind == ALLOC:
                live[size].append(allocate(size))
            elif kind == FREE:
                if held := live[size]:
                    release(held.pop(), size)
            elif free and free[-1] >> ADDRESS_BITS > size + SPARE:
                continue  # one block holds it all, so nothing is different after it
            elif inner:
                self._play(inner)
            else:
                release(allocate(size), size)

    def empty_cache(self) -> None:
        """Return free segments to the driver; the peak is counted from there on."""
        self.allocator.release_cached_blocks()
        self.allocator.peak_reserved = self.allocator.reserved


class Replayed(TensorMemory):
    """The memory of one training step, on which symbolic events are played."""

    def __init__(
        self, architecture: Architecture, settings: TrainingSettings, workspace: int
    ) -> None:
        super().__init__(expandable=settings.kernels.expandable_segments)
        self.shape, self.settings = architecture, settings
        self.workspace = workspace
        self.sized: dict[tuple[int, int], tuple[Events, Sized]] = {}
        """Events that were played, and their bytes: the layers of a model repeat a few programs."""
        self.states = settings.states
        self.tokens = settings.tokens
        self.scores = settings.scores
        self.processes = Processes(self, architecture, settings)

    def play(self, events: Events, units: int | None = None) -> None:
        """Play symbolic events for the step's tokens; ``units``: the third unit, None: scores."""
        if not events:
            return
        units = self.scores if units is None else units
        known = self.sized.get((id(events), units))
        if known is None:
            known = self.sized[id(events), units] = (events, self._sized(events, units))
        self.play_sized(known[1])

    def _sized(self, events: Events, units: int) -> Sized:
        """The events in bytes."""
        tokens = self.tokens
        sizes = [
            self.workspace
            if size is None
            else size.per_token * tokens + size.constant + size.per_unit * units
            for size in sizes_of(events)
        ]
        program = by_passages(events, tuple([size <= SMALL_REQUEST for size in sizes]))
        small = most_small = 0
        for sign, place in program.small:
            small += sign * small_share(sizes[place])
            if small > most_small:  # noqa: PLR1730  as in CachingAllocator.allocate
                most_small = small
        return Sized(_large(program.large, sizes)[0], small, most_small)


def _large(nodes: tuple[Node, ...], sizes: list[int]) -> tuple[tuple[Large, ...], int]:
    """Some nodes in bytes, and the most bytes that they take from one free block.

    What the block gave is counted as gone although it was freed, because best fit may leave the
    hole too small for the next request. Only a passage gives back all that it took.
    """
    found: list[Large] = []
    taken = most = 0
    for kind, place, inner in nodes:
        if inner:
            events, need = _large(inner, sizes)
            found.append((PASSAGE, need, events))
        else:
            size = sizes[place]
            need = size + BLOCK_BYTES
            found.append((kind, size, inner))
            if kind == FREE:
                continue
        if taken + need > most:  # noqa: PLR1730  as in CachingAllocator.allocate
            most = taken + need
        if kind == ALLOC:
            taken += need
    return tuple(found), most


@lru_cache(maxsize=4096)
def small_share(size: int) -> int:
    """Bytes of a small segment per tensor if many equal tensors share it, the rest included."""
    return SMALL_SEGMENT // max(1, SMALL_SEGMENT // max(size, BLOCK_BYTES))


def load_model(replay: Replayed) -> None:
    """Weights and adapters, layer by layer, then the buffers that several processes build."""
    if replay.settings.sharding.zero_stage == 3:
        replay.processes.load_sharded()
    else:
        expandable = replay.settings.kernels.expandable_segments
        replay.start_from(_loaded(replay.shape, replay.states, expandable))
    replay.alloc(replay.workspace)
    replay.processes.loaded()


@lru_cache(maxsize=64)
def _loaded(shape: Architecture, states: StateSettings, expandable: bool) -> TensorMemory:
    """The memory after loading, which no length and no batch changes."""
    memory, quantization = TensorMemory(expandable=expandable), states.base.quantization
    # PEFT casts the unquantised parts of a quantised base to fp32.
    element = BYTES[Dtype.FP32 if states.base.upcasts else states.base.model_dtype]
    for elements, copies in base_tensors(shape):
        memory.alloc(elements * element, copies)
    linears = list(stored_linears(shape, quantization))
    for number in range(max(shape.num_hidden_layers, *(copies for _, copies, _ in linears), 0)):
        for linear, copies, form in linears:
            if number >= copies or linear.role is Role.ENCODER:
                continue
            if form is None:
                memory.alloc(linear.weight_count * element)
            else:
                memory.alloc(quantized_weight_bytes(linear, form))
    if states.method.uses_adapter:
        for tensor in in_order(trained_tensors(shape, states.method)):
            memory.alloc(tensor.elements * element_bytes(tensor, states))
    return memory
