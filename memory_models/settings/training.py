"""One training configuration."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, cached_property

from memory_models.frozen import frozen
from memory_models.settings.choices import (
    EMBEDDING,
    HEAD,
    Dtype,
    FinetuningType,
    LossKernel,
    Quantization,
)
from memory_models.settings.counts import at_least_one
from memory_models.settings.method import Method
from memory_models.settings.parts import (
    Arithmetic,
    HeadSettings,
    LayerSettings,
    Parts,
    Passes,
    StateSettings,
    parts_of,
)
from memory_models.settings.records import (
    BaseStorage,
    BatchLayout,
    Kernels,
    Sharding,
)
from memory_models.settings.streaming import Streaming

MULTI_LORA_METHODS = frozenset({FinetuningType.LORA, FinetuningType.RSLORA})
"""Methods of which our worker can train several adapters on one base."""


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

    @cached_property
    def tokens(self) -> int:
        """Decoder positions per micro-batch, n = B x S."""
        return self.rows * self.sequence_length

    @cached_property
    def scores(self) -> int:
        """Attention scores per head and micro-batch: B x S x S, or those within packed rows."""
        if self.row_length is None:
            return self.rows * self.sequence_length**2
        return round(self.tokens * self.row_length)

    @property
    def arithmetic(self) -> Arithmetic:
        """The settings that decide dtypes and kernels."""
        return self._parts.arithmetic

    @property
    def layer(self) -> LayerSettings:
        """The settings that the program of a decoder layer depends on."""
        return self._parts.layer

    @property
    def head(self) -> HeadSettings:
        """The settings that the program of lm_head and loss depends on."""
        return self._parts.head

    @property
    def states(self) -> StateSettings:
        """The settings that model states and gradients depend on."""
        return self._parts.states

    @cached_property
    def _parts(self) -> Parts:
        # A group of passes has all gradients of a layer before a layer below has any.
        together = self.streaming.streams and (
            self.passes_together == self.batch.gradient_accumulation_steps
        )
        return parts_of(
            self.method,
            self.base,
            self.kernels,
            self.sharding,
            self.streaming,
            Passes(
                accumulates=self.batch.accumulates,
                together=together,
                checkpointed=self.batch.gradient_checkpointing,
            ),
        )

    @property
    def passes_together(self) -> int:
        """Passes of a step that a streamed layer works on before the next layer comes."""
        return self.streaming.together(self.batch.gradient_accumulation_steps)

    @cached_property
    def cast_by_deepspeed(self) -> TrainingSettings:
        """The settings with the whole model in the dtype of autocast, if there is one."""
        dtype = self.base.autocast or self.base.model_dtype
        return replace(self, base=_cast(self.base, dtype))


@cache
def _cast(base: BaseStorage, dtype: Dtype) -> BaseStorage:
    """The base as DeepSpeed casts it: one record, by which equal settings are found fast."""
    return replace(base, model_dtype=dtype, autocast=None)


def effective_settings(settings: TrainingSettings) -> TrainingSettings:
    """The settings that the training loop runs under.

    DeepSpeed casts the model to half precision and runs it without autocast.
    Source: accelerate accelerator.py (``_prepare_deepspeed`` wraps no forward in autocast).
    """
    if settings.sharding.zero_stage == 0 or settings.base.autocast is None:
        return settings
    return settings.cast_by_deepspeed
