"""Events that several processes add to a replayed step: flat groups, buckets, gathered parameters.

Sources: those of sharding/{states,gradients,held_gradients,all_gather}.py. Under ZeRO-3 the
parameters of two layers are available at any time. They are allocated and freed between
activations, and that fragments memory.
Ignores: flat copies of several small parameters; modules that gather their parameters alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memory_models.architecture import Architecture
from memory_models.settings import Dtype, TrainingSettings
from memory_models.sharding.all_gather import layer_parameter_bytes, more_gathered_bytes
from memory_models.sharding.deepspeed_config import buckets
from memory_models.sharding.held_gradients import (
    MASTER_BYTES,
    NORM_BYTES,
    NORM_ELEMENTS,
    TEMPORARIES,
)
from memory_models.sharding.partition import elements_over_bucket, in_order, partition_of
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

if TYPE_CHECKING:
    from memory_models.allocator.event_player import Replayed


class Processes:
    """Allocations and frees of one of several processes, beyond the programs of layers and lm_head.

    A process alone without ZeRO does nothing here.
    """

    def __init__(self, memory: Replayed, shape: Architecture, settings: TrainingSettings) -> None:
        self.memory, self.shape, self.settings = memory, shape, settings
        self.states, self.sharding = settings.states, settings.sharding
        self.method = settings.method
        self.stage = self.sharding.zero_stage
        self.element = trained_element_bytes(self.states)
        self.half = BYTES[settings.base.model_dtype]
        self.partition = partition_of(shape, self.states)
        one, held = buckets(shape, self.sharding)
        self.bucket = self.element * held if self.stage in (1, 2) else 0
        self.reduced = self.element * one
        owns = self.stage in (1, 2) and not self.sharding.offload_optimizer
        self.part = self.element * self.partition.overlapping_elements if owns else 0
        self.parts = 0
        """Number of flat parts of this process's gradients that exist."""
        gathers = self.sharding.gathers
        self.layer_parameters = tuple(layer_parameter_bytes(shape, settings)) if gathers else ()
        self.over_bucket = (
            tuple(elements_over_bucket(shape, settings))
            if self.stage == 2 and self.sharding.offload_optimizer
            else ()
        )
        self.boundary = True
        """The micro-batch is the last one of the step (``is_gradient_accumulation_boundary``)."""
        self.held: list[int] = []
        """Bytes of the gradients that offload keeps until backward has ended."""
        self.head = self.half * embedding_parameters(shape) if gathers else 0
        self.flat = self.head if self.method.uses_adapter else 0
        """Beside adapters DeepSpeed gathers the lm_head into a flat buffer, then copies it out."""
        again = self.method.trains_everything or settings.batch.gradient_checkpointing
        self.embedding = self.head if again else 0
        """Bytes of the embedding if its own backward gathers it again."""

    def reduce_layer(self, *, outer: bool) -> None:
        """Offload reduces the large gradients of one layer; ``outer``: temporaries are replayed."""
        for elements in self.over_bucket:
            self.reduce(elements, elements, outer=outer)

    def reduce_embedding(self) -> None:
        """Offload reduces the gradient of an embedding or an lm_head."""
        if self.over_bucket:
            self.reduce(embedding_parameters(self.shape), self.partition.largest_partition)
        elif self.stage == 3 and self.sharding.offload_optimizer and self.boundary:
            for size in (NORM_BYTES, MASTER_BYTES):
                self.memory.alloc(size * min(NORM_ELEMENTS, self.partition.largest_partition))
                self.memory.free(size * min(NORM_ELEMENTS, self.partition.largest_partition))

    def reduce(self, elements: int, partition: int, *, outer: bool = True) -> None:
        """DeepSpeed keeps a clone of a gradient, or takes its norm and copies it to the host."""
        memory = self.memory
        if not self.boundary:
            memory.alloc(self.element * elements)
            self.held.append(self.element * elements)
        elif outer:
            memory.alloc(self.element * elements)
            for bytes_each in (NORM_BYTES, MASTER_BYTES):
                memory.alloc(bytes_each * partition)
                memory.free(bytes_each * partition)
            memory.free(self.element * elements)

    def load_sharded(self) -> None:
        """Load the weights of ZeRO-3: every frozen partition by itself, trained partitions flat."""
        memory = self.memory
        if not self.method.trains_everything and not self.sharding.offload_param:
            for size, copies in base_partitions(self.shape, self.states):
                memory.alloc(size, copies)
        if not self.sharding.offload_param:
            memory.alloc(self.element * self.partition.share)
        self._masters()
        memory.alloc(self.reduced)
        if not self.sharding.offload_optimizer:
            memory.alloc(self.element * self.partition.share)
        if self.layer_parameters:
            memory.alloc(persistent_parameter_bytes(self.shape, self.states))
            # What a user's limits gather beyond two layers stays nearly all the time.
            memory.alloc(more_gathered_bytes(self.shape, self.settings))

    def loaded(self) -> None:
        """Build what needs the weights: DDP's buckets, or the flat groups of ZeRO-1 and 2."""
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
        """Cast the fp32 parts of the base, then build the flat group and the masters of each group.

        DeepSpeed empties the cache before each group, frees the trained tensors after the copy,
        and allocates the masters.
        """
        memory, settings = self.memory, self.settings
        base = settings.base
        if base.upcasts or (base.quantization is not None and base.model_dtype is Dtype.FP32):
            for elements, copies in base_tensors(self.shape):
                memory.alloc(self.half * elements, copies)
                memory.free(MASTER_BYTES * elements, copies)
        ordered = list(in_order(trained_tensors(self.shape, self.method)))
        for number, share in enumerate(self.partition.shares):
            # DeepSpeed calls empty_cache before each group, which resets the fragmentation so far.
            memory.empty_cache()
            memory.alloc(self.element * share * self.sharding.world_size)
            for tensor in ordered:
                # Norms and biases are the second group; adapters form one group only.
                vector = tensor.rows == 1 and not self.method.uses_adapter
                if vector == (number == 1):
                    memory.free(self.element * tensor.elements)
            if not self.sharding.offload_optimizer:
                memory.alloc(self.element * share)
                memory.alloc(MASTER_BYTES * share)
                memory.free(self.element * share)
        self._empty_gradients(self.partition.shares)

    def _masters(self) -> None:
        """Stage 3 makes each fp32 master from a copy that stays until the next copy is made."""
        if self.sharding.offload_optimizer:
            return
        memory, earlier = self.memory, 0
        for share in self.partition.shares:
            memory.alloc(MASTER_BYTES * share)
            memory.free(earlier)
            memory.alloc(MASTER_BYTES * share)
            earlier = MASTER_BYTES * share
        memory.free(earlier)
        self._empty_gradients((max(self.partition.shares),))

    def _empty_gradients(self, shares: tuple[int, ...]) -> None:
        """DeepSpeed initialises the optimizer's states with empty fp32 gradients."""
        for share in () if self.sharding.offload_optimizer else shares:
            self.memory.alloc(MASTER_BYTES * share)
        for share in () if self.sharding.offload_optimizer else shares:
            self.memory.free(MASTER_BYTES * share)

    def enter(self, place: int, count: int, step: int) -> None:
        """A layer begins: its parameters are available, and the next layer's are prefetched."""
        # No layer came before the first one of a pass, so nothing prefetched its parameters.
        if place in (0, count - 1) and place - step not in range(count):
            self._gather_layer()
        if place + step in range(count):
            self._gather_layer()
        if place == 0 and step < 0 and self.embedding:
            self._gather_embedding()

    def _gather_layer(self) -> None:
        for size in self.layer_parameters:
            self.memory.alloc(size)

    def leave(self) -> None:
        """A layer ends: its parameters are released."""
        for size in self.layer_parameters:
            self.memory.free(size)

    def embedding_begins(self) -> None:
        """The embedding begins: its weight is gathered."""
        self.memory.alloc(self.head)

    def embedding_ends(self) -> None:
        """The embedding ends: its weight is released, because its next use is many layers away."""
        self.memory.free(self.head)

    def loss_begins(self) -> None:
        """The loss begins: the lm_head's weight is gathered."""
        self._gather_embedding()

    def _gather_embedding(self) -> None:
        self.memory.alloc(self.flat)
        self.memory.alloc(self.head)
        self.memory.free(self.flat)

    def loss_ends(self) -> None:
        """The backward of the loss ends: the lm_head's weight is released."""
        self.memory.free(self.head)

    def backward_begins(self) -> None:
        """Backward begins: the bucket, and in stage 2 a flat part for reduced gradients."""
        self.memory.alloc(self.bucket)
        if self.stage == 2 and self.part:
            self.memory.alloc(self.part)
            self.parts += 1

    def backward_ends(self) -> None:
        """Backward ends: the last bucket's flat copy; parts of several micro-batches are summed."""
        if self.stage:
            flat = min(self.reduced, self.element * self.partition.total)
            self.memory.alloc(flat)
            self.memory.free(flat)
        # DeepSpeed drops the references to kept gradients only when backward has ended.
        while self.held:
            self.memory.free(self.held.pop())
        if self.embedding:
            self.memory.free(self.embedding)
        # The part of this micro-batch is added to the earlier one and freed.
        if self.parts > 1:
            self.memory.free(self.part)
            self.parts -= 1
        self.memory.free(self.bucket)

    def step(self, *, first: bool) -> None:
        """DeepSpeed's step: the norm, then each group's flat and fp32 gradient and its step."""
        memory = self.memory
        if self.stage == 1:
            if self.part:
                memory.alloc(self.part)
                self.parts = 1
            self._free_gradients(own=True)
        if not self.sharding.offload_optimizer:
            memory.alloc(NORM_BYTES * self.partition.largest_partition)
            memory.free(NORM_BYTES * self.partition.largest_partition)
        if self.stage == 1:
            self._free_gradients(own=False)
        groups = () if self.sharding.offload_optimizer else self.partition.shares
        for number, share in enumerate(groups, start=1):
            memory.alloc(self.element * share)
            memory.alloc(MASTER_BYTES * share)
            memory.free(self.element * share)
            # The flat part is a view of all groups' gradients: it lives until the last group.
            if number == len(groups):
                memory.free(self.part, self.parts)
                self.parts = 0
            self._optimize(share, first=first)
            memory.free(MASTER_BYTES * share)
        self.parts = 0

    def _free_gradients(self, *, own: bool) -> None:
        """Stage 1 frees its own gradients after the flat copy, and the others before the step."""
        world_size = self.sharding.world_size
        tensors = in_order(trained_tensors(self.shape, self.method))
        for number, tensor in enumerate(tensors):
            if (number % world_size == 0) == own:
                self.memory.free(self.element * tensor.elements)

    def _optimize(self, share: int, *, first: bool) -> None:
        """The optimizer steps one flat share; the first step allocates the states."""
        memory, settings = self.memory, self.settings
        if first:
            tensor = Tensor(rows=1, columns=share)
            paged = settings.kernels.optimizer in PAGED
            states = STATE_BYTES[settings.kernels.optimizer](tensor, MASTER_BYTES, paged=paged)
            # Two moments of equal size; separate tensors find separate holes.
            memory.alloc(states // 2, 2)
        work = TEMPORARIES.get(settings.kernels.optimizer, 0) * share
        memory.alloc(work)
        memory.free(work)
