"""Events that several ranks add to a replayed step: flat groups, buckets, gathered parameters.

Sources: those of zero.py, gradients.py and gathered.py. Under ZeRO-3 two blocks' parameters are
there at any time, so what comes and goes between activations is what fragments memory.
Ignores: flat copies of several small parameters; modules that gather one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from memory_models.architecture import Architecture
from memory_models.settings import TrainingSettings
from memory_models.sharding.all_gather import layer_tensors
from memory_models.sharding.deepspeed_config import persistent_elements, reduce_bucket_elements
from memory_models.sharding.held_gradients import (
    MASTER_BYTES,
    NORM_BYTES,
    NORM_ELEMENTS,
    TEMPORARIES,
)
from memory_models.sharding.partition import in_order, partition_of
from memory_models.sharding.states import (
    DDP_BUCKET_BYTES,
    base_partitions,
    persistent_parameter_bytes,
)
from memory_models.states.optimizer import (
    PAGED,
    STATE_BYTES,
    Tensor,
    gradient_bytes,
    trained_element_bytes,
    trained_tensors,
)
from memory_models.states.storage import BYTES
from memory_models.states.weights import base_tensors, embedding_parameters


class Memory(Protocol):
    """The replayed allocator."""

    def alloc(self, size: int, copies: int = 1) -> None:
        """Tensors come."""

    def free(self, size: int, copies: int = 1) -> None:
        """Tensors go."""

    def empty_cache(self) -> None:
        """Free segments go."""


class Processes:
    """What one of several ranks takes and gives beside the programs; alone, nothing."""

    def __init__(self, memory: Memory, shape: Architecture, settings: TrainingSettings) -> None:
        self.memory, self.shape, self.settings = memory, shape, settings
        self.states, self.sharding, self.method = (
            settings.states,
            settings.sharding,
            settings.method,
        )
        self.stage = self.sharding.zero_stage
        self.element = trained_element_bytes(self.states)
        self.half = BYTES[settings.base.model_dtype]
        self.partition = partition_of(shape, self.states)
        self.bucket = self.element * reduce_bucket_elements(shape) if self.stage in (1, 2) else 0
        owns = self.stage in (1, 2) and not self.sharding.offload_optimizer
        self.part = self.element * self.partition.overlapping_elements if owns else 0
        self.parts = 0
        """Flat parts of this rank's gradients that are there."""
        gathers = self.sharding.gathers
        self.block = tuple(self._block()) if gathers else ()
        self.wide = (
            tuple(self._wide()) if self.stage == 2 and self.sharding.offload_optimizer else ()
        )
        self.boundary = True
        """The micro-batch is the step's last."""
        self.held: list[int] = []
        """Gradients that offload keeps until backward has ended."""
        self.head = self.half * embedding_parameters(shape) if gathers else 0
        self.flat = self.head if self.method.uses_adapter else 0
        """Beside adapters an embedding is gathered in one piece with them, then copied apart."""
        again = self.method.trains_everything or settings.batch.gradient_checkpointing
        self.last = self.head if again else 0
        """The embedding's own backward gathers it once more."""

    def _block(self) -> Iterator[int]:
        """Bytes of one block's shared-out parameters."""
        layer, smallest = self.settings.layer, persistent_elements(self.shape)
        for elements, size in layer_tensors(self.shape, layer, self.half):
            if elements > smallest:
                yield size

    def _wide(self) -> Iterator[int]:
        """Elements of this rank's gradients of one block that no bucket holds."""
        limit, ranks = reduce_bucket_elements(self.shape), self.sharding.world_size
        tensors = trained_tensors(self.shape, self.method)
        layers = max(tensor.copies for tensor in tensors)
        wide = [t.elements for t in tensors if t.copies == layers and t.elements > limit]
        yield from wide[::ranks]

    def reduce_layer(self, *, outer: bool) -> None:
        """Offload reduces a block's large gradients; ``outer``: what that takes is replayed."""
        for elements in self.wide:
            self.reduce(elements, elements, outer=outer)

    def reduce_embedding(self) -> None:
        """The same of an embedding or a head."""
        if self.wide:
            self.reduce(embedding_parameters(self.shape), self.partition.largest_partition)
        elif self.stage == 3 and self.sharding.offload_optimizer and self.boundary:
            for size in (NORM_BYTES, MASTER_BYTES):
                self.memory.alloc(size * min(NORM_ELEMENTS, self.partition.largest_partition))
                self.memory.free(size * min(NORM_ELEMENTS, self.partition.largest_partition))

    def reduce(self, elements: int, piece: int, *, outer: bool = True) -> None:
        """A gradient's clone stays, or its norm is taken and it goes to the host in fp32."""
        memory = self.memory
        if not self.boundary:
            memory.alloc(self.element * elements)
            self.held.append(self.element * elements)
        elif outer:
            memory.alloc(self.element * elements)
            for bytes_each in (NORM_BYTES, MASTER_BYTES):
                memory.alloc(bytes_each * piece)
                memory.free(bytes_each * piece)
            memory.free(self.element * elements)

    def load_sharded(self) -> None:
        """ZeRO-3's weights: every part by itself, trained ones flat."""
        memory = self.memory
        if not self.method.trains_everything and not self.sharding.offload_param:
            for size, copies in base_partitions(self.shape, self.states):
                memory.alloc(size, copies)
        if not self.sharding.offload_param:
            memory.alloc(self.element * self.partition.share)
        self._masters()
        memory.alloc(self.element * reduce_bucket_elements(self.shape))
        if not self.sharding.offload_optimizer:
            memory.alloc(self.element * self.partition.share)
        if self.block:
            memory.alloc(persistent_parameter_bytes(self.shape, self.states))

    def loaded(self) -> None:
        """What is built once the weights are there."""
        if self.stage == 0:
            self._ddp_buckets()
        elif self.stage < 3:
            self._flatten()
            if self.sharding.offload_optimizer:
                self.memory.alloc(self.element * self.partition.largest)

    def _ddp_buckets(self) -> None:
        if self.sharding.world_size > 1:
            whole, rest = divmod(gradient_bytes(self.shape, self.states), DDP_BUCKET_BYTES)
            self.memory.alloc(DDP_BUCKET_BYTES, whole)
            self.memory.alloc(rest)

    def _flatten(self) -> None:
        """Casts of what was in fp32; group by group a flat copy of trained tensors, which go, and
        their masters. Before each group, and so behind the one before, the cache is emptied.
        """
        memory, settings = self.memory, self.settings
        if settings.base.quantization is not None:
            for elements, copies in base_tensors(self.shape):
                memory.alloc(self.half * elements, copies)
                memory.free(MASTER_BYTES * elements, copies)
        ordered = list(in_order(trained_tensors(self.shape, self.method)))
        for number, share in enumerate(self.partition.shares):
            memory.empty_cache()
            memory.alloc(self.element * share * self.sharding.world_size)
            for tensor in ordered:
                vector = tensor.rows == 1 and not self.method.uses_adapter
                if vector == (number == 1):
                    memory.free(self.element * tensor.elements)
            if not self.sharding.offload_optimizer:
                memory.alloc(self.element * share)
                memory.alloc(MASTER_BYTES * share)
                memory.free(self.element * share)
        self._show(self.partition.shares)

    def _masters(self) -> None:
        """Stage 3: fp32 masters by way of a copy that stays until the next one is made."""
        if self.sharding.offload_optimizer:
            return
        memory, earlier = self.memory, 0
        for share in self.partition.shares:
            memory.alloc(MASTER_BYTES * share)
            memory.free(earlier)
            memory.alloc(MASTER_BYTES * share)
            earlier = MASTER_BYTES * share
        memory.free(earlier)
        self._show((max(self.partition.shares),))

    def _show(self, shares: tuple[int, ...]) -> None:
        """Gradients that the optimizer is shown before there are any."""
        for share in () if self.sharding.offload_optimizer else shares:
            self.memory.alloc(MASTER_BYTES * share)
        for share in () if self.sharding.offload_optimizer else shares:
            self.memory.free(MASTER_BYTES * share)

    def enter(self, place: int, count: int, step: int) -> None:
        """A block is due: its parameters are there already, the next one's are fetched."""
        if place in (0, count - 1) and place - step not in range(count):
            self._gather_layer()
        if place + step in range(count):
            self._gather_layer()
        if place == 0 and step < 0 and self.last:
            self._gather_embedding()

    def _gather_layer(self) -> None:
        for size in self.block:
            self.memory.alloc(size)

    def leave(self) -> None:
        """A block is done."""
        for size in self.block:
            self.memory.free(size)

    def embedding_begins(self) -> None:
        """The embedding is gathered."""
        self.memory.alloc(self.head)

    def embedding_ends(self) -> None:
        """It goes: its next use is many blocks away."""
        self.memory.free(self.head)

    def loss_begins(self) -> None:
        """The head is gathered."""
        self._gather_embedding()

    def _gather_embedding(self) -> None:
        self.memory.alloc(self.flat)
        self.memory.alloc(self.head)
        self.memory.free(self.flat)

    def loss_ends(self) -> None:
        """The head was there in the loss's backward, too."""
        self.memory.free(self.head)

    def backward_begins(self) -> None:
        """The bucket and a part for what comes out of it."""
        self.memory.alloc(self.bucket)
        if self.stage == 2 and self.part:
            self.memory.alloc(self.part)
            self.parts += 1

    def backward_ends(self) -> None:
        """A flat copy on the way to all ranks; parts of several micro-batches are summed up."""
        if self.stage:
            flat = self.element * min(reduce_bucket_elements(self.shape), self.partition.total)
            self.memory.alloc(flat)
            self.memory.free(flat)
        while self.held:
            self.memory.free(self.held.pop())
        if self.last:
            self.memory.free(self.last)
        if self.parts > 1:
            self.memory.free(self.part)
            self.parts -= 1
        self.memory.free(self.bucket)

    def step(self, *, first: bool) -> None:
        """DeepSpeed's step: the norm; a group's gradient flat, then in fp32; the optimizer."""
        memory = self.memory
        if self.stage == 1:
            if self.part:
                memory.alloc(self.part)
                self.parts = 1
            self._drop(own=True)
        if not self.sharding.offload_optimizer:
            memory.alloc(NORM_BYTES * self.partition.largest_partition)
            memory.free(NORM_BYTES * self.partition.largest_partition)
        if self.stage == 1:
            self._drop(own=False)
        groups = () if self.sharding.offload_optimizer else self.partition.shares
        for number, share in enumerate(groups, start=1):
            memory.alloc(self.element * share)
            memory.alloc(MASTER_BYTES * share)
            memory.free(self.element * share)
            if number == len(groups):
                memory.free(self.part, self.parts)
                self.parts = 0
            self._optimize(share, first=first)
            memory.free(MASTER_BYTES * share)
        self.parts = 0

    def _drop(self, *, own: bool) -> None:
        """Stage 1 lets go of gradients: its own once they are flat, the others before the step."""
        ranks = self.sharding.world_size
        tensors = in_order(trained_tensors(self.shape, self.method))
        for number, tensor in enumerate(tensors):
            if (number % ranks == 0) == own:
                self.memory.free(self.element * tensor.elements)

    def _optimize(self, share: int, *, first: bool) -> None:
        """The optimizer on one flat share; its states are made at its first step."""
        memory, settings = self.memory, self.settings
        if first:
            tensor = Tensor(rows=1, columns=share)
            paged = settings.kernels.optimizer in PAGED
            states = STATE_BYTES[settings.kernels.optimizer](tensor, MASTER_BYTES, paged=paged)
            memory.alloc(states // 2, 2)
        work = TEMPORARIES.get(settings.kernels.optimizer, 0) * share
        memory.alloc(work)
        memory.free(work)
