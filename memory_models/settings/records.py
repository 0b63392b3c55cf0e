"""The small records that training settings and hardware settings are composed of."""

from __future__ import annotations

from memory_models.frozen import frozen
from memory_models.settings.choices import (
    Attention,
    DecoderKernels,
    Dtype,
    LossKernel,
    Optimizer,
    Quantization,
)
from memory_models.settings.counts import at_least_one


@frozen
class BaseStorage:
    """How the weights of the base are stored and multiplied."""

    model_dtype: Dtype = Dtype.BF16
    """Dtype of the weights as loaded."""
    autocast: Dtype | None = Dtype.BF16
    """Dtype of ``torch.autocast``; None: no mixed precision."""
    quantization: Quantization | None = None
    upcast_unquantized: bool = True
    """The unquantised parts of a quantised base are cast to fp32, as PEFT's preparation does.

    A plan for our own worker leaves the cast out, and so do TRL and LLaMA-Factory.
    """

    @property
    def upcasts(self) -> bool:
        """Whether there are unquantised parts of a quantised base that are cast to fp32."""
        return self.needs_bitsandbytes and self.upcast_unquantized

    @property
    def multiplies_8bit(self) -> bool:
        """Whether the products with the decoder's frozen matrices are 8-bit products."""
        return self.quantization is not None and self.quantization.multiplies

    @property
    def needs_bitsandbytes(self) -> bool:
        """Whether bitsandbytes stores and multiplies the base."""
        return self.quantization is not None and not self.multiplies_8bit

    @property
    def has_4bit(self) -> bool:
        """Whether the matrices of the base are NF4."""
        return self.quantization in (Quantization.NF4, Quantization.NF4_DQ)


@frozen
class Kernels:
    """The implementation of each part of a step."""

    attention: Attention = Attention.SDPA
    loss_kernel: LossKernel = LossKernel.PLAIN
    optimizer: Optimizer = Optimizer.ADAMW_TORCH_FUSED
    decoder_kernels: DecoderKernels = DecoderKernels.REFERENCE
    expandable_segments: bool = False
    """PyTorch's allocator grows its segments instead of adding new ones (our worker's setting)."""


@frozen
class DeepSpeedConfig:
    """A user's own DeepSpeed configuration: its sizes in elements, and its text.

    The names are DeepSpeed's; None stands for "auto", which transformers fills in.
    """

    reduce_bucket_size: int | None = None
    stage3_prefetch_bucket_size: int | None = None
    stage3_param_persistence_threshold: int | None = None
    stage3_max_live_parameters: int
    stage3_max_reuse_distance: int
    sub_group_size: int
    overlap_comm: bool = False
    text: str = ""
    """The file's JSON, which exports write as it is."""
    warnings: tuple[str, ...] = ()
    """What of the file is unknown, contradicts itself or is not sized."""


@frozen
class Sharding:
    """How several processes share the model."""

    world_size: int = 1
    """Processes of all machines, one per GPU."""
    nodes: int = 1
    """Machines, each with as many of the processes as the others."""
    zero_stage: int = 0
    offload_optimizer: bool = False
    offload_param: bool = False
    fsdp: bool = False
    """The base is shared out by torch's FSDP2; adapters stay whole, as under DDP."""
    fsdp_per_host: bool = False
    """Each machine has a whole copy of that base, in slices on its own GPUs (hybrid sharding)."""
    fsdp_whole_model: bool = False
    """FSDP2 as accelerate wraps a model, for other trainers: adapters are in slices, too, while
    embedding and lm_head are gathered for the whole step."""
    deepspeed: DeepSpeedConfig | None = None
    """A user's own configuration; None: tsplanner's (``sharding/deepspeed_config.py``)."""

    def __post_init__(self) -> None:
        """Refuse values that no run can have."""
        at_least_one(self, "world_size", "nodes")
        if self.world_size % self.nodes:
            raise ValueError(
                f"world_size {self.world_size} counts the GPUs of all machines, and nodes "
                f"{self.nodes} must divide it"
            )
        if self.zero_stage not in (0, 1, 2, 3):
            raise ValueError(f"zero_stage must be 0, 1, 2 or 3, not {self.zero_stage}")
        if self.offload_param and self.zero_stage != 3:
            raise ValueError("offload_param needs zero_stage 3")
        if self.offload_optimizer and self.zero_stage == 0:
            raise ValueError("offload_optimizer needs zero_stage 1, 2 or 3")
        if self.fsdp and self.zero_stage:
            raise ValueError(f"fsdp needs zero_stage 0, not {self.zero_stage}: take one of the two")
        if (self.fsdp_per_host or self.fsdp_whole_model) and not self.fsdp:
            name = "fsdp_per_host" if self.fsdp_per_host else "fsdp_whole_model"
            raise ValueError(f"{name} needs fsdp: it says how a base is shared out")

    @property
    def processes_per_node(self) -> int:
        """Processes of one machine."""
        return self.world_size // self.nodes

    @property
    def kind(self) -> str:
        """The kind of distribution, a key in the tables of the calibration."""
        if self.zero_stage == 0:
            return "ddp" if self.world_size > 1 else "alone"
        return "zero-3" if self.zero_stage == 3 else "zero"

    @property
    def one_dtype(self) -> bool:
        """Whether all parameters have one dtype, because DeepSpeed casts adapters and norms too.

        Source: deepspeed runtime/engine.py (``_cast_module_mixed_precision``).
        """
        return self.zero_stage > 0

    @property
    def shards_gradients(self) -> bool:
        """Whether a gradient leaves its parameter at once (ZeRO-2 and 3)."""
        return self.zero_stage >= 2

    @property
    def shards_base(self) -> bool:
        """Whether each process holds a slice of the frozen base, which FSDP2 gathers by layer."""
        return self.fsdp and self.slices > 1

    @property
    def slices(self) -> int:
        """Processes among which FSDP2 shares one copy of the base out."""
        return self.processes_per_node if self.fsdp_per_host else self.world_size

    @property
    def gathers(self) -> bool:
        """Whether ZeRO-3 gathers parameters from other processes or from the host."""
        return self.zero_stage == 3 and (self.world_size > 1 or self.offload_param)


@frozen
class BatchLayout:
    """How the rows of an effective batch go through the model."""

    micro_batch_size: int = 1
    """Sequences per pass; with multi-LoRA, sequences per pass and trial."""
    gradient_accumulation_steps: int = 1
    gradient_checkpointing: bool = True
    checkpointed_layers: int | None = None
    """Number of first decoder layers that are checkpointed; None: all layers are."""
    token_budget: int | None = None
    """Positions per pass, into which the rows of a step are laid end to end; None: rows are padded.

    The rows of a step are then ``gradient_accumulation_steps`` per process, ``micro_batch_size`` 1.
    """

    def __post_init__(self) -> None:
        """Refuse values that no run can have."""
        at_least_one(self, "micro_batch_size", "gradient_accumulation_steps")
        if self.token_budget is not None:
            at_least_one(self, "token_budget")
            if self.micro_batch_size > 1:
                raise ValueError(
                    f"token_budget {self.token_budget} packs the rows of a step, so that "
                    f"micro_batch_size must be 1, not {self.micro_batch_size}"
                )
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
    def is_packed(self) -> bool:
        """Whether rows are laid end to end instead of padded."""
        return self.token_budget is not None

    @property
    def accumulates(self) -> bool:
        """Whether a step has more than one micro-batch."""
        return self.gradient_accumulation_steps > 1
