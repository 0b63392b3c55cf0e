"""The Plan: one frozen record that every later step reads, and every run folder holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from memory_models.device import Machine
from memory_models.result import MemoryEstimate
from memory_models.settings import (
    ALL_LINEAR,
    Attention,
    Dtype,
    FinetuningType,
    Kernels,
    LossKernel,
    Optimizer,
    Quantization,
    TrainingSettings,
)
from tsplanner.datasets.records import DroppedKind, LengthBin

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningSettings:
    """What is learned. Chosen by the user or the search, never changed for memory's sake."""

    finetuning_type: FinetuningType = FinetuningType.LORA
    lora_rank: int = 8
    lora_alpha: float | None = None
    """None: twice the rank."""
    lora_dropout: float = 0.0
    lora_target: tuple[str, ...] | str = ALL_LINEAR
    adalora_init_rank: int | None = None
    freeze_trainable_layers: int = 2
    learning_rate: float = 2e-4
    timeseries_lr: float | None = None
    """Learning rate of what is trained in the time-series encoder; None: ``learning_rate``."""
    lr_scheduler_type: str = "cosine"
    warmup_ratio: float = 0.03
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    num_train_epochs: int = 3
    effective_batch_size: int = 16
    """Sequences per optimizer step, all GPUs and accumulation steps together."""
    cutoff_len: int = 2048
    """Longest text of a sample in tokens; time-series patches come on top."""
    validation_fraction: float = 0.1
    """Share of the kept rows held out for evaluation."""
    seed: int = 42
    """Of the adapter's first weights and of the order of rows."""
    split_seed: int = 42
    """Of the draw of the held-out rows, which so stay the same on every seed."""

    @property
    def alpha(self) -> float:
        """LoRA's scale numerator."""
        return 2.0 * self.lora_rank if self.lora_alpha is None else self.lora_alpha


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareSettings:
    """How fast and how big. Moved by the planner alone; never changes what is learned."""

    accelerator: str = "cuda"
    """``cuda`` or ``cpu``."""
    world_size: int = 1
    micro_batch_size: int = 1
    gradient_accumulation_steps: int = 16
    gradient_checkpointing: bool = True
    checkpointed_layers: int | None = None
    """Only so many decoder layers are checkpointed, the first ones; None: all of them."""
    attention: Attention = Attention.SDPA
    loss_kernel: LossKernel = LossKernel.PLAIN
    optimizer: Optimizer = Optimizer.ADAMW_TORCH_FUSED
    kernels: Kernels = Kernels.REFERENCE
    expandable_segments: bool = False
    """Sizes memory for an allocator that grows its segments, as the worker's does."""
    model_dtype: Dtype = Dtype.BF16
    autocast: Dtype | None = Dtype.BF16
    quantization: Quantization | None = None
    zero_stage: int = 0
    offload_optimizer: bool = False
    offload_param: bool = False
    devices: tuple[int, ...] = ()
    """Positions in the machine's ``devices`` of the GPUs used; empty: the first ``world_size``."""

    @property
    def effective_batch_size(self) -> int:
        """Sequences per optimizer step that these settings give."""
        return self.world_size * self.micro_batch_size * self.gradient_accumulation_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """Where the model is and what it is called."""

    name: str
    path: str | None
    """Folder with config.json (and weights, if there are any); None for a bare preset."""
    model_type: str
    parameters_total: int
    parameters_trainable: int
    tokenizer: str | None = None
    """Folder with the tokenizer if it is not the model's own."""
    config: dict[str, object] = field(default_factory=dict)
    """config.json as read: builds a model of random weights where there are no weights."""
    has_weights: bool = False
    trust_remote_code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRef:
    """What is trained on, and how long it is."""

    name: str
    path: str | None
    """None: no dataset given; every sequence is taken to be cutoff_len long."""
    rows_total: int
    rows_kept: int
    longest_sequence: int
    """Decoder positions of the longest kept sample, patches included."""
    mean_sequence: float
    longest_batch: int | None = None
    """Positions of the longest batch of several samples; None: as ``longest_sequence``."""
    length_quantiles: tuple[int, ...] = ()
    """Positions of padded samples at even shares of the rows, shortest to longest; empty: all
    ``mean_sequence``."""
    most_patches: int | None = None
    """Patches of the sample that has the most; None: taken to be a quarter of its positions."""
    on_bad_rows: str = "refuse"
    """``refuse`` a dataset with bad rows, or ``drop`` them."""
    dropped: tuple[DroppedKind, ...] = ()
    """Rows left out, by what is wrong with them."""
    dropped_file: str | None = None
    """Names every row left out, as ``file:line: reason``; None: there is none."""
    mean_text: float | None = None
    """Text tokens of the mean row; what is missing to ``mean_sequence`` are patches."""
    histogram: tuple[LengthBin, ...] = ()
    """Kept rows by their positions."""
    counted_by: str
    """``tokenizer``, ``estimate`` or ``cutoff_len``."""

    def sequence_length(self, micro_batch_size: int) -> int:
        """Decoder positions of the longest batch of that many samples."""
        if micro_batch_size > 1 and self.longest_batch is not None:
            return self.longest_batch
        return self.longest_sequence

    def series_patches(self, length: int) -> int:
        """Patches of a sample of so many positions, for a model with an encoder."""
        return length // 4 if self.most_patches is None else min(length, self.most_patches)


def no_dataset(length: int) -> DatasetRef:
    """No rows at hand: every sample is taken to be ``length`` decoder positions long."""
    return DatasetRef(
        name="(none)",
        path=None,
        rows_total=0,
        rows_kept=0,
        longest_sequence=length,
        mean_sequence=float(length),
        length_quantiles=(length,),
        counted_by="cutoff_len",
    )


class Verdict(StrEnum):
    """Three states: the upper bound fits, only the expected value does, or neither."""

    FITS = "fits"
    TIGHT = "tight"
    DOES_NOT_FIT = "does not fit"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeEstimate:
    """Seconds, with the half-width of a 95 % interval as a share of the value."""

    step_seconds: float
    relative_error: float
    steps_per_epoch: int
    total_steps: int
    total_seconds: float
    """Steps and evaluations; without start and load."""
    evaluation_seconds: float = 0.0
    """What of it goes to evaluations."""
    basis: str
    """What the rates come from: ``datasheet``, ``measured`` or ``probe on this machine``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Learning settings, hardware settings, what they cost, and why that is believed."""

    schema_version: int = SCHEMA_VERSION
    tsplanner_version: str
    model: ModelRef
    dataset: DatasetRef
    machine: Machine
    learning: LearningSettings
    hardware: HardwareSettings
    memory: MemoryEstimate
    time: TimeEstimate
    free_bytes: int
    """Memory that is free on the fullest device used (host RAM on a CPU)."""
    verdict: Verdict
    memory_factor: float = 1.0
    """What earlier probes on this machine multiplied the bytes by."""
    work_factor: float = 1.0
    """What they multiplied the seconds of the GPU's work by."""
    launch_factor: float = 1.0
    """What they multiplied the seconds of issuing it by."""
    assumptions: tuple[str, ...] = field(default=())

    @property
    def sequence_length(self) -> int:
        """Decoder positions that memory was sized for: the longest batch that can occur."""
        return self.dataset.sequence_length(self.hardware.micro_batch_size)


def pinned(settings: TrainingSettings) -> tuple[LearningSettings, HardwareSettings]:
    """Learning and hardware settings of exactly these training settings, on one GPU or several."""
    learning = LearningSettings(
        finetuning_type=settings.finetuning_type,
        lora_rank=settings.lora_rank,
        adalora_init_rank=settings.adalora_init_rank,
        lora_target=settings.lora_target,
        lora_dropout=settings.lora_dropout,
        freeze_trainable_layers=settings.freeze_trainable_layers,
        effective_batch_size=settings.micro_batch_size
        * settings.gradient_accumulation_steps
        * settings.world_size,
        cutoff_len=settings.sequence_length,
    )
    hardware = HardwareSettings(
        world_size=settings.world_size,
        micro_batch_size=settings.micro_batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        gradient_checkpointing=settings.gradient_checkpointing,
        checkpointed_layers=settings.checkpointed_layers,
        attention=settings.attention,
        loss_kernel=settings.loss_kernel,
        optimizer=settings.optimizer,
        kernels=settings.kernels,
        expandable_segments=settings.expandable_segments,
        model_dtype=settings.model_dtype,
        autocast=settings.autocast,
        quantization=settings.quantization,
        zero_stage=settings.zero_stage,
        offload_optimizer=settings.offload_optimizer,
        offload_param=settings.offload_param,
    )
    return learning, hardware


def training_settings(
    learning: LearningSettings,
    hardware: HardwareSettings,
    sequence_length: int,
    series_patches: int = 0,
) -> TrainingSettings:
    """The estimator's view of a plan at one sequence length (decoder positions)."""
    return TrainingSettings(
        finetuning_type=learning.finetuning_type,
        lora_rank=learning.lora_rank,
        adalora_init_rank=learning.adalora_init_rank,
        lora_target=learning.lora_target,
        lora_dropout=learning.lora_dropout,
        freeze_trainable_layers=learning.freeze_trainable_layers,
        model_dtype=hardware.model_dtype,
        autocast=hardware.autocast,
        quantization=hardware.quantization,
        sequence_length=sequence_length,
        series_patches=series_patches,
        micro_batch_size=hardware.micro_batch_size,
        gradient_accumulation_steps=hardware.gradient_accumulation_steps,
        gradient_checkpointing=hardware.gradient_checkpointing,
        checkpointed_layers=hardware.checkpointed_layers,
        attention=hardware.attention,
        loss_kernel=hardware.loss_kernel,
        optimizer=hardware.optimizer,
        kernels=hardware.kernels,
        expandable_segments=hardware.expandable_segments,
        world_size=hardware.world_size,
        zero_stage=hardware.zero_stage,
        offload_optimizer=hardware.offload_optimizer,
        offload_param=hardware.offload_param,
    )
