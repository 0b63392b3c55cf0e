"""One training configuration, and the parts of it that the programs of the estimate depend on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

from memory_models.settings.choices import (
    Attention,
    DecoderKernels,
    Dtype,
    FinetuningType,
    LossKernel,
    Optimizer,
    Quantization,
)
from memory_models.settings.records import (
    BaseStorage,
    BatchLayout,
    Kernels,
    Method,
    Sharding,
    at_least_one,
)

MULTI_LORA_METHODS = frozenset({FinetuningType.LORA, FinetuningType.RSLORA})
"""Methods whose adapters our worker can train beside others on one base."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arithmetic:
    """What decides in which dtypes values flow and by which kernels."""

    base: BaseStorage
    one_dtype: bool
    """DeepSpeed cast every parameter to one dtype."""
    decoder_kernels: DecoderKernels

    @property
    def upcasts_base(self) -> bool:
        """Embedding, head and norms of a quantised base are in fp32, as is its stream."""
        prepared = self.base.quantization is not None and self.base.upcast_unquantized
        return prepared and not self.one_dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSettings:
    """What the program of a decoder layer depends on: no lengths, no batches, no processes."""

    arithmetic: Arithmetic
    method: Method
    attention: Attention
    accumulates: bool
    """Gradients of parameters are there already, or leave as soon as they are made."""
    checkpointed: bool

    @property
    def without_checkpoint(self) -> LayerSettings:
        """The layers that keep everything where the first ones are checkpointed."""
        return replace(self, checkpointed=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSettings:
    """What the program of last norm, head and loss depends on."""

    arithmetic: Arithmetic
    loss_kernel: LossKernel
    trained: bool
    """The head gets a gradient."""
    adalora: bool
    """AdaLoRA's regularizer runs before the loss's backward."""
    accumulates: bool
    """As in ``LayerSettings``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSettings:
    """What model states and gradients depend on: no lengths and no micro-batches."""

    method: Method
    base: BaseStorage
    sharding: Sharding
    optimizer: Optimizer
    loss_kernel: LossKernel
    accumulates: bool
    """A step has more than one micro-batch."""
    checkpointed: bool

    @property
    def upcasts_base(self) -> bool:
        """As ``Arithmetic.upcasts_base``."""
        prepared = self.base.quantization is not None and self.base.upcast_unquantized
        return prepared and not self.sharding.one_dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """One configuration to estimate: the reference recipe unless a field says otherwise.

    The reference recipe is what Hugging Face users run: Trainer and PEFT defaults, non-reentrant
    checkpointing, quantised bases through ``prepare_model_for_kbit_training``, trained base
    weights kept in the dtype they were loaded in, every sequence at full length.
    """

    method: Method = field(default_factory=Method)
    base: BaseStorage = field(default_factory=BaseStorage)
    kernels: Kernels = field(default_factory=Kernels)
    sharding: Sharding = field(default_factory=Sharding)
    batch: BatchLayout = field(default_factory=BatchLayout)
    sequence_length: int = 2048
    """Decoder positions of every sequence, time-series patches included."""
    series_patches: int = 0
    """Patches of series among these positions; counts only for models with an encoder."""

    def __post_init__(self) -> None:
        """Refuse records that exclude each other.

        Raises:
            ValueError: names the fields.
        """
        at_least_one(self, "sequence_length")
        if not 0 <= self.series_patches <= self.sequence_length:
            raise ValueError(
                f"series_patches must be from 0 to sequence_length {self.sequence_length}, "
                f"not {self.series_patches}"
            )
        if self.method.adapter_ranks:
            self._check_multi_lora()
        if self.kernels.decoder_kernels is DecoderKernels.FUSED and self.sharding.zero_stage == 3:
            raise ValueError("fused kernels read weights that zero_stage 3 has not gathered")
        if self.base.quantization is not None and not self.method.uses_adapter:
            raise ValueError(
                f"quantization {self.base.quantization} needs an adapter method, "
                f"not {self.method.finetuning_type}: a quantised base cannot be trained"
            )

    def _check_multi_lora(self) -> None:
        """Refuse what the worker does not train side by side; the planner says why."""
        able = self.method.finetuning_type in MULTI_LORA_METHODS and not self.method.lora_dropout
        alone = self.sharding.world_size == 1 and self.sharding.zero_stage == 0
        if not able or not alone or self.base.quantization is Quantization.INT8:
            raise ValueError(
                "adapter_ranks needs lora or rslora without dropout on one GPU, and no int8 base"
            )
        if self.kernels.loss_kernel is not LossKernel.FUSED:
            raise ValueError("adapter_ranks needs loss_kernel fused")

    @property
    def rows(self) -> int:
        """Sequences of one pass of the base, all trials together."""
        return self.batch.micro_batch_size * max(1, len(self.method.adapter_ranks))

    @property
    def tokens(self) -> int:
        """Decoder positions of one micro-batch, n = B x S."""
        return self.rows * self.sequence_length

    @property
    def scores(self) -> int:
        """Attention scores of one head in one micro-batch, B x S x S."""
        return self.rows * self.sequence_length**2

    @property
    def arithmetic(self) -> Arithmetic:
        """What decides dtypes and kernels."""
        return Arithmetic(
            base=self.base,
            one_dtype=self.sharding.one_dtype,
            decoder_kernels=self.kernels.decoder_kernels,
        )

    @property
    def layer(self) -> LayerSettings:
        """What the program of a decoder layer depends on."""
        return LayerSettings(
            arithmetic=self.arithmetic,
            method=self.method,
            attention=self.kernels.attention,
            accumulates=self._adds_gradients,
            checkpointed=self.batch.gradient_checkpointing,
        )

    @property
    def head(self) -> HeadSettings:
        """What the program of head and loss depends on."""
        return HeadSettings(
            arithmetic=self.arithmetic,
            loss_kernel=self.kernels.loss_kernel,
            trained=self.method.trains_everything,
            adalora=self.method.is_adalora,
            accumulates=self._adds_gradients,
        )

    @property
    def states(self) -> StateSettings:
        """What model states and gradients depend on."""
        return StateSettings(
            method=self.method,
            base=self.base,
            sharding=self.sharding,
            optimizer=self.kernels.optimizer,
            loss_kernel=self.kernels.loss_kernel,
            accumulates=self.batch.accumulates,
            checkpointed=self.batch.gradient_checkpointing,
        )

    @property
    def _adds_gradients(self) -> bool:
        # A gradient that leaves at once is to a program what one added to an earlier one is.
        return self.batch.accumulates or self.sharding.shards_gradients


def effective_settings(settings: TrainingSettings) -> TrainingSettings:
    """The settings as the training loop has them.

    DeepSpeed casts the model to half precision and runs it without autocast.
    Source: accelerate accelerator.py (``_prepare_deepspeed`` wraps no forward in autocast).
    """
    if settings.sharding.zero_stage == 0 or settings.base.autocast is None:
        return settings
    return _cast(settings, settings.base.autocast)


@lru_cache(maxsize=4096)
def _cast(settings: TrainingSettings, dtype: Dtype) -> TrainingSettings:
    return replace(settings, base=replace(settings.base, model_dtype=dtype, autocast=None))
