"""How a model is trained, as far as bytes go.

Field names are the keys of ``tsplanner estimate``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FinetuningType(StrEnum):
    """What is trained. QLoRA is ``lora`` on a base with ``quantization``."""

    LORA = "lora"
    DORA = "dora"
    RSLORA = "rslora"
    ADALORA = "adalora"
    FULL = "full"
    FREEZE = "freeze"


ADAPTER_METHODS = frozenset(
    {FinetuningType.LORA, FinetuningType.DORA, FinetuningType.RSLORA, FinetuningType.ADALORA}
)


class Dtype(StrEnum):
    """Storage type of a tensor."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class Quantization(StrEnum):
    """Storage of the frozen base's matrices (bitsandbytes)."""

    INT8 = "int8"
    NF4 = "nf4"
    NF4_DQ = "nf4-dq"
    """NF4 with its constants quantised too (double quantisation)."""


class Attention(StrEnum):
    """Attention kernel, by transformers' names."""

    EAGER = "eager"
    SDPA = "sdpa"
    FLASH_ATTENTION_2 = "flash_attention_2"


class LossKernel(StrEnum):
    """``plain`` keeps all logits; ``fused`` computes head and loss in chunks of rows."""

    PLAIN = "plain"
    FUSED = "fused"


class Optimizer(StrEnum):
    """Hugging Face's ``optim`` names."""

    ADAMW_TORCH = "adamw_torch"
    ADAMW_TORCH_FUSED = "adamw_torch_fused"
    ADAMW_BNB_8BIT = "adamw_bnb_8bit"
    PAGED_ADAMW_8BIT = "paged_adamw_8bit"
    PAGED_ADAMW_32BIT = "paged_adamw_32bit"
    ADAFACTOR = "adafactor"
    SGD = "sgd"


class Kernels(StrEnum):
    """How a decoder's pieces run."""

    REFERENCE = "reference"
    """As transformers and PEFT have them."""
    LEAN = "lean"
    """Norm, gated product and LoRA with fewer kernels and fewer kept tensors (our worker's)."""


ALL_LINEAR = "all-linear"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """One configuration to estimate: the reference recipe unless a field says otherwise.

    The reference recipe is what Hugging Face users run: Trainer and PEFT defaults, non-reentrant
    checkpointing, quantised bases through ``prepare_model_for_kbit_training``, trained base
    weights kept in the dtype they were loaded in, every sequence at full length.
    """

    finetuning_type: FinetuningType = FinetuningType.LORA
    lora_rank: int = 8
    """Rank of every adapter; AdaLoRA's target rank."""
    adalora_init_rank: int | None = None
    """Rank AdaLoRA starts with; None: 1.5 times ``lora_rank``."""
    lora_target: tuple[str, ...] | str = ALL_LINEAR
    """Module names, or ``all-linear``."""
    lora_dropout: float = 0.0
    freeze_trainable_layers: int = 2
    """Last decoder layers that the ``freeze`` method trains."""
    model_dtype: Dtype = Dtype.BF16
    """Dtype of the weights as loaded."""
    autocast: Dtype | None = Dtype.BF16
    """Dtype of ``torch.autocast``; None: no mixed precision."""
    quantization: Quantization | None = None
    sequence_length: int = 2048
    """Decoder positions of every sequence, time-series patches included."""
    series_patches: int = 0
    """How many of them are patches of series; counts only for models with an encoder."""
    micro_batch_size: int = 1
    """Sequences of one pass; of a pack those of each trial."""
    packed_ranks: tuple[int, ...] = ()
    """Ranks of trials that share the base in one process; empty: one run by ``lora_rank``."""
    gradient_accumulation_steps: int = 1
    gradient_checkpointing: bool = True
    checkpointed_layers: int | None = None
    """Only so many decoder layers are checkpointed, the first ones; None: all of them."""
    attention: Attention = Attention.SDPA
    loss_kernel: LossKernel = LossKernel.PLAIN
    optimizer: Optimizer = Optimizer.ADAMW_TORCH_FUSED
    kernels: Kernels = Kernels.REFERENCE
    expandable_segments: bool = False
    """PyTorch's allocator grows its segments instead of taking new ones (our worker's setting)."""
    upcast_unquantized: bool = True
    """What bitsandbytes leaves alone of a quantised base is in fp32; LLaMA-Factory keeps it."""
    world_size: int = 1
    zero_stage: int = 0
    offload_optimizer: bool = False
    offload_param: bool = False

    def __post_init__(self) -> None:
        """Refuse values that no run can have."""
        positive = (
            "lora_rank",
            "sequence_length",
            "micro_batch_size",
            "gradient_accumulation_steps",
            "world_size",
            "freeze_trainable_layers",
        )
        for name in positive:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.lora_dropout < 1:
            raise ValueError(f"lora_dropout must be in [0, 1), not {self.lora_dropout}")
        if self.zero_stage not in (0, 1, 2, 3):
            raise ValueError(f"zero_stage must be 0, 1, 2 or 3, not {self.zero_stage}")
        if self.offload_param and self.zero_stage != 3:
            raise ValueError("offload_param needs zero_stage 3")
        if self.offload_optimizer and self.zero_stage == 0:
            raise ValueError("offload_optimizer needs zero_stage 1, 2 or 3")
        self._check_checkpointed_layers()
        self._check_series()
        self._check_pack()
        if self.kernels is Kernels.LEAN and self.zero_stage == 3:
            raise ValueError("lean kernels read weights that zero_stage 3 has not gathered")
        if self.quantization is not None and self.finetuning_type not in ADAPTER_METHODS:
            raise ValueError(
                f"quantization {self.quantization} needs an adapter method, "
                f"not {self.finetuning_type}: a quantised base cannot be trained"
            )
        if self.adalora_init_rank is not None and self.adalora_init_rank < self.lora_rank:
            raise ValueError(
                f"adalora_init_rank {self.adalora_init_rank} is below "
                f"the target rank lora_rank {self.lora_rank}"
            )

    def _check_pack(self) -> None:
        """What the worker does not pack; the planner says why."""
        if not self.packed_ranks:
            return
        packs = self.finetuning_type in (FinetuningType.LORA, FinetuningType.RSLORA)
        alone = self.world_size == 1 and self.zero_stage == 0
        if not packs or not alone or self.lora_dropout or self.quantization is Quantization.INT8:
            raise ValueError(
                "packed_ranks needs lora or rslora without dropout on one GPU, and no int8 base"
            )
        if min(self.packed_ranks) < 1:
            raise ValueError(f"packed_ranks must be at least 1, not {min(self.packed_ranks)}")
        if self.loss_kernel is not LossKernel.FUSED:
            raise ValueError("packed_ranks needs loss_kernel fused")

    def _check_series(self) -> None:
        if not 0 <= self.series_patches <= self.sequence_length:
            raise ValueError(
                f"series_patches must be from 0 to sequence_length {self.sequence_length}, "
                f"not {self.series_patches}"
            )

    def _check_checkpointed_layers(self) -> None:
        layers = self.checkpointed_layers
        if layers is None:
            return
        if not self.gradient_checkpointing:
            raise ValueError(f"checkpointed_layers {layers} needs gradient_checkpointing")
        if layers < 1:
            raise ValueError(
                f"checkpointed_layers must be at least 1, not {layers}: "
                "for none, turn gradient_checkpointing off"
            )

    @property
    def uniform_dtype(self) -> bool:
        """Every parameter has one dtype: DeepSpeed casts adapters and what nf4 leaves alone.

        Source: deepspeed runtime/engine.py (``_cast_module_mixed_precision``).
        """
        return self.zero_stage > 0

    @property
    def upcasts_base(self) -> bool:
        """Embedding, head and norms of a quantised base are in fp32, as is its stream."""
        prepared = self.quantization is not None and self.upcast_unquantized
        return prepared and not self.uniform_dtype

    @property
    def sharding(self) -> str:
        """What several ranks run under, or one with ZeRO: a key of the calibration's tables."""
        if self.zero_stage == 0:
            return "ddp" if self.world_size > 1 else "alone"
        return "zero-3" if self.zero_stage == 3 else "zero"

    @property
    def shards_gradients(self) -> bool:
        """A gradient leaves its parameter as soon as it is there (ZeRO-2 and 3)."""
        return self.zero_stage >= 2

    @property
    def uses_adapter(self) -> bool:
        """The base is frozen and an adapter is trained."""
        return self.finetuning_type in ADAPTER_METHODS

    @property
    def rows(self) -> int:
        """Sequences of one pass of the base, all trials together."""
        return self.micro_batch_size * max(1, len(self.packed_ranks))

    @property
    def ranks(self) -> tuple[int, ...]:
        """Rank of each adapter on a linear."""
        return self.packed_ranks or (self.adapter_rank,)

    @property
    def adapter_rank(self) -> int:
        """Rank of the adapter's matrices in memory."""
        if self.finetuning_type is FinetuningType.ADALORA:
            return self.adalora_init_rank or max(self.lora_rank, int(1.5 * self.lora_rank))
        return self.lora_rank
