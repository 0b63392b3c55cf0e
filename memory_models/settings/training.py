"""One training configuration, and its parts that the programs of the estimate depend on."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from memory_models.frozen import frozen
from memory_models.settings.choices import (
    EMBEDDING,
    HEAD,
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
from memory_models.settings.streaming import Streaming

MULTI_LORA_METHODS = frozenset({FinetuningType.LORA, FinetuningType.RSLORA})
"""Methods of which our worker can train several adapters on one base."""


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


@frozen
class TrainingSettings:
    """One configuration to estimate: the reference recipe, unless a field differs from it.

    The reference recipe is that of most Hugging Face users: defaults of Trainer and PEFT,
    non-reentrant checkpointing, quantised bases through ``prepare_model_for_kbit_training``,
    trained base weights in the dtype that they were loaded in, every sequence at full length.
    """

    method: Method = Method()
    base: BaseStorage = BaseStorage()
    kernels: Kernels = Kernels()
    sharding: Sharding = Sharding()
    batch: BatchLayout = BatchLayout()
    streaming: Streaming = Streaming()
    sequence_length: int = 2048
    """Decoder positions per sequence, time-series patches included."""
    series_patches: int = 0
    """Positions of a sequence that are patches; they count only for models with an encoder."""
    row_length: float | None = None
    """Length of the row that a token belongs to, in positions, as a mean over tokens of rows that
    are laid end to end; None: ``sequence_length``."""

    def __post_init__(self) -> None:
        """Refuse settings that exclude each other.

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
        self._check_vocabulary()
        self._check_streaming()
        self._check_fsdp()
        if self.kernels.decoder_kernels.is_ours and self.sharding.zero_stage == 3:
            raise ValueError(
                f"{self.kernels.decoder_kernels} kernels read weights that zero_stage 3 has not "
                "gathered"
            )
        if self.base.quantization is not None and not self.method.uses_adapter:
            raise ValueError(
                f"quantization {self.base.quantization} needs an adapter method, "
                f"not {self.method.finetuning_type}: a quantised base cannot be trained"
            )
        # DeepSpeed casts and flattens the parameters that it finds.
        if self.base.multiplies_8bit and self.sharding.zero_stage:
            raise ValueError(f"quantization {self.base.quantization} needs zero_stage 0")

    def _check_streaming(self) -> None:
        """Refuse what cannot be trained on a base that passes through the device."""
        if not self.streaming.streams:
            return
        method = self.method
        if method.trains_base or not method.is_uniform or method.is_adalora or method.adapter_ranks:
            raise ValueError("streamed_layers needs one lora, rslora or dora adapter per linear")
        if self.sharding.zero_stage:
            raise ValueError(
                f"streamed_layers needs zero_stage 0, not {self.sharding.zero_stage}: DeepSpeed "
                "moves weights in its own way"
            )
        processes = self.sharding.processes_per_node
        if self.streaming.differs and len(self.streaming.numbers) != processes:
            raise ValueError(
                f"streamed_layers {self.streaming.words} names {len(self.streaming.numbers)} "
                f"processes of a machine, which has {processes}"
            )
        if self.base.upcasts:
            raise ValueError("streamed_layers of a quantised base needs upcast_unquantized off")
        if self.streaming.stream_from_files and self.base.quantization is not None:
            raise ValueError("stream_from_files needs a base that is not quantised as it is loaded")
        if not self.batch.gradient_checkpointing or self.batch.checkpointed_layers is not None:
            raise ValueError(
                "streamed_layers needs gradient_checkpointing of all layers, whose inputs are all "
                "that is kept"
            )

    def _check_fsdp(self) -> None:
        """Refuse what cannot be trained on a base that the processes share out."""
        if not self.sharding.fsdp:
            return
        if self.method.trains_base and not self.method.trains_everything:
            raise ValueError(
                f"fsdp shares a base out that is frozen or trained whole, not by "
                f"{self.method.finetuning_type}: take zero_stage 3"
            )
        if self.method.trains_base and self.sharding.fsdp_per_host:
            raise ValueError("fsdp_per_host needs a frozen base: machines would average gradients")
        if self.streaming.streams:
            raise ValueError("fsdp and streamed_layers both say where the layers are: take one")
        if self.base.quantization in (Quantization.INT8, Quantization.FP8, Quantization.W8A8):
            raise ValueError(
                f"fsdp takes a base of nf4, nf4-dq or none, not {self.base.quantization}"
            )

    def _check_vocabulary(self) -> None:
        """Refuse what is not sized of a trained embedding or lm_head beside adapters."""
        method = self.method
        if not (method.modules_to_save or method.adapts(EMBEDDING) or method.adapts(HEAD)):
            return
        if self.sharding.zero_stage:
            raise ValueError(
                f"{EMBEDDING} and {HEAD} are trained beside adapters without ZeRO alone: take "
                "zero_stage 0"
            )
        if method.adapts(HEAD) and self.kernels.loss_kernel.in_chunks:
            raise ValueError(f"the fused loss leaves out an adapter on {HEAD}: take plain")

    def _check_multi_lora(self) -> None:
        """Refuse adapters that the worker cannot train on one base; the planner explains why."""
        able = self.method.finetuning_type in MULTI_LORA_METHODS and not self.method.lora_dropout
        able = able and self.method.is_uniform
        alone = self.sharding.world_size == 1 and self.sharding.zero_stage == 0
        if not able or not alone or self.base.quantization is Quantization.INT8:
            raise ValueError(
                "adapter_ranks needs lora or rslora without dropout on one GPU, and no int8 base"
            )
        # The memory of several trials on one base is modelled with the fused loss alone.
        if self.kernels.loss_kernel is not LossKernel.FUSED:
            raise ValueError("adapter_ranks needs loss_kernel fused")

    def of_process(self, process: int | None) -> TrainingSettings:
        """The settings as one process of a machine has them; None: that which holds the most."""
        if not self.streaming.differs:
            return self
        numbers = self.streaming.numbers
        place = numbers.index(min(numbers)) if process is None else process
        return replace(self, streaming=self.streaming.of_process(place))

    @property
    def rows(self) -> int:
        """Sequences per pass of the base, of all trials together."""
        return self.batch.micro_batch_size * max(1, len(self.method.adapter_ranks))

    @property
    def tokens(self) -> int:
        """Decoder positions per micro-batch, n = B x S."""
        return self.rows * self.sequence_length

    @property
    def scores(self) -> int:
        """Attention scores per head and micro-batch: B x S x S, or those within packed rows."""
        if self.row_length is None:
            return self.rows * self.sequence_length**2
        return round(self.tokens * self.row_length)

    @property
    def arithmetic(self) -> Arithmetic:
        """The settings that decide dtypes and kernels."""
        return Arithmetic(
            base=self.base,
            one_dtype=self.sharding.one_dtype,
            decoder_kernels=self.kernels.decoder_kernels,
        )

    @property
    def layer(self) -> LayerSettings:
        """The settings that the program of a decoder layer depends on."""
        return LayerSettings(
            arithmetic=self.arithmetic,
            method=self.method,
            attention=self.kernels.attention,
            accumulates=self._adds_gradients,
            checkpointed=self.batch.gradient_checkpointing,
        )

    @property
    def head(self) -> HeadSettings:
        """The settings that the program of lm_head and loss depends on."""
        return HeadSettings(
            arithmetic=self.arithmetic,
            loss_kernel=self.kernels.loss_kernel,
            trained=self.method.trains_everything,
            copied=HEAD in self.method.modules_to_save,
            rank=self.method.rank_of(HEAD) if self.method.adapts(HEAD) else 0,
            adalora=self.method.is_adalora,
            accumulates=self._adds_gradients,
            processes=self._base_slices,
        )

    @property
    def states(self) -> StateSettings:
        """The settings that model states and gradients depend on."""
        return StateSettings(
            method=self.method,
            base=self.base,
            sharding=self.sharding,
            optimizer=self.kernels.optimizer,
            loss_kernel=self.kernels.loss_kernel,
            accumulates=self.batch.accumulates and not self._in_one_group,
            checkpointed=self.batch.gradient_checkpointing,
            streaming=self.streaming,
            decoder_kernels=self.kernels.decoder_kernels,
        )

    @property
    def _base_slices(self) -> int:
        whole = self.sharding.fsdp_whole_model or self.method.trains_everything
        return self.sharding.slices if self.sharding.shards_base and not whole else 1

    @property
    def passes_together(self) -> int:
        """Passes of a step that a streamed layer works on before the next layer comes."""
        return self.streaming.together(self.batch.gradient_accumulation_steps)

    @property
    def _in_one_group(self) -> bool:
        # Then a layer above has all of its gradients before a layer below has any.
        whole = self.passes_together == self.batch.gradient_accumulation_steps
        return self.streaming.streams and whole

    @property
    def _adds_gradients(self) -> bool:
        # In both cases backward frees a gradient as soon as the gradient is complete.
        return self.batch.accumulates or self.sharding.shards_gradients


def effective_settings(settings: TrainingSettings) -> TrainingSettings:
    """The settings that the training loop runs under.

    DeepSpeed casts the model to half precision and runs it without autocast.
    Source: accelerate accelerator.py (``_prepare_deepspeed`` wraps no forward in autocast).
    """
    if settings.sharding.zero_stage == 0 or settings.base.autocast is None:
        return settings
    return _cast(settings, settings.base.autocast)


@lru_cache(maxsize=4096)
def _cast(settings: TrainingSettings, dtype: Dtype) -> TrainingSettings:
    return replace(settings, base=replace(settings.base, model_dtype=dtype, autocast=None))
