"""The parts of a training configuration that the programs of the estimate depend on.

Thousands of candidates differ in their batches alone and share these records, so that what was
found for a record is found again without comparing its fields.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from memory_models.frozen import frozen
from memory_models.settings.choices import HEAD, Attention, DecoderKernels, LossKernel, Optimizer
from memory_models.settings.method import Method
from memory_models.settings.records import BaseStorage, Kernels, Sharding
from memory_models.settings.streaming import Streaming


@frozen
class Arithmetic:
    """The settings that decide the dtypes of values and the kernels of a layer."""

    base: BaseStorage
    one_dtype: bool
    """DeepSpeed casts every parameter to one dtype."""
    decoder_kernels: DecoderKernels

    @property
    def upcasts_base(self) -> bool:
        """Whether embedding, lm_head, norms and stream of a quantised base are in fp32."""
        return self.base.upcasts and not self.one_dtype


@frozen
class LayerSettings:
    """The settings that the program of a decoder layer depends on."""

    arithmetic: Arithmetic
    method: Method
    attention: Attention
    accumulates: bool
    """Parameters have gradients before backward, or gradients leave their parameters at once."""
    checkpointed: bool

    @property
    def without_checkpoint(self) -> LayerSettings:
        """The settings of layers without a checkpoint, if other layers have one."""
        return replace(self, checkpointed=False)


@frozen
class HeadSettings:
    """The settings that the program of last norm, lm_head and loss depends on."""

    arithmetic: Arithmetic
    loss_kernel: LossKernel
    trained: bool
    """The lm_head gets a gradient."""
    copied: bool = False
    """A whole copy of the lm_head is trained beside adapters."""
    rank: int = 0
    """LoRA rank of the adapter on the lm_head; 0: it has none."""
    adalora: bool
    """AdaLoRA's regularizer runs before the backward of the loss."""
    accumulates: bool
    """See ``LayerSettings.accumulates``."""
    processes: int = 1
    """Processes that share a frozen lm_head of its own out, in the fused loss."""


@frozen
class StateSettings:
    """The settings that model states and gradients depend on."""

    method: Method
    base: BaseStorage
    sharding: Sharding
    optimizer: Optimizer
    loss_kernel: LossKernel
    accumulates: bool
    """A step has more than one micro-batch."""
    checkpointed: bool
    streaming: Streaming = Streaming()
    decoder_kernels: DecoderKernels = DecoderKernels.REFERENCE

    @property
    def upcasts_base(self) -> bool:
        """See ``Arithmetic.upcasts_base``."""
        return self.base.upcasts and not self.sharding.one_dtype


class Passes(NamedTuple):
    """What of the passes of a step these records depend on."""

    accumulates: bool
    """A step has more than one micro-batch."""
    together: bool
    """All micro-batches of a step pass through one layer before the next."""
    checkpointed: bool


class Parts(NamedTuple):
    """The parts of one configuration."""

    arithmetic: Arithmetic
    layer: LayerSettings
    head: HeadSettings
    states: StateSettings


@lru_cache(maxsize=4096)
def parts_of(
    method: Method,
    base: BaseStorage,
    kernels: Kernels,
    sharding: Sharding,
    streaming: Streaming,
    passes: Passes,
) -> Parts:
    """The parts of a configuration, the same records for equal ones."""
    arithmetic = Arithmetic(
        base=base, one_dtype=sharding.one_dtype, decoder_kernels=kernels.decoder_kernels
    )
    # In both cases backward frees a gradient as soon as the gradient is complete.
    adds_gradients = passes.accumulates or sharding.shards_gradients
    whole = sharding.fsdp_whole_model or method.trains_everything
    return Parts(
        arithmetic=arithmetic,
        layer=LayerSettings(
            arithmetic=arithmetic,
            method=method,
            attention=kernels.attention,
            accumulates=adds_gradients,
            checkpointed=passes.checkpointed,
        ),
        head=HeadSettings(
            arithmetic=arithmetic,
            loss_kernel=kernels.loss_kernel,
            trained=method.trains_everything,
            copied=HEAD in method.modules_to_save,
            rank=method.rank_of(HEAD) if method.adapts(HEAD) else 0,
            adalora=method.is_adalora,
            accumulates=adds_gradients,
            processes=sharding.slices if sharding.shards_base and not whole else 1,
        ),
        states=StateSettings(
            method=method,
            base=base,
            sharding=sharding,
            optimizer=kernels.optimizer,
            loss_kernel=kernels.loss_kernel,
            accumulates=passes.accumulates and not passes.together,
            checkpointed=passes.checkpointed,
            streaming=streaming,
            decoder_kernels=kernels.decoder_kernels,
        ),
    )
