"""The two kinds of settings of a plan: learning settings and hardware settings."""

from __future__ import annotations

from dataclasses import field
from math import inf

from memory_models.frozen import frozen
from memory_models.settings import (
    BaseStorage,
    BatchLayout,
    Dtype,
    Kernels,
    Method,
    Sharding,
    Streaming,
    TrainingSettings,
    at_least_one,
    flat,
    paths,
)
from memory_models.settings.counts import LARGEST_COUNT
from tsplanner.datasets.records import LossOn

DEFAULT_EFFECTIVE_BATCH = 16


@frozen
class Optimization:
    """Settings of the optimizer and of the length of the run."""

    learning_rate: float = 2e-4
    timeseries_lr: float | None = None
    """Learning rate of the trained parts of the time-series encoder; None: ``learning_rate``."""
    lr_scheduler_type: str = "cosine"
    """By transformers' names."""
    warmup_ratio: float = 0.03
    """Share of the steps in which the rate rises from 0."""
    warmup_steps: int | None = None
    """Number of these steps; None: by ``warmup_ratio``."""
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    """Norm above which the gradients of a step are scaled down to it; 0: they never are."""
    num_train_epochs: int | float = 3
    """Passes over the training rows; half of one is 0.5."""
    effective_batch_size: int = DEFAULT_EFFECTIVE_BATCH
    """Sequences per optimizer step, over all GPUs and accumulation steps."""
    neftune_noise_alpha: float | None = None
    """Size of NEFTune's noise on the embeddings in training (arXiv 2310.05914); None: no noise."""

    def __post_init__(self) -> None:
        """Refuse values that no run can have."""
        at_least_one(self, "effective_batch_size")
        for name in ("num_train_epochs", "neftune_noise_alpha"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= LARGEST_COUNT:
                raise ValueError(f"{name} must be above 0 and at most {LARGEST_COUNT}, not {value}")
        for rate in (self.learning_rate, self.timeseries_lr):
            if rate is not None and not 0 < rate < inf:
                raise ValueError(f"a learning rate must be above 0, not {rate}")
        for name in ("weight_decay", "max_grad_norm", "warmup_steps"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < inf:
                raise ValueError(f"{name} cannot be below 0, as {value} is")
        if not 0 <= self.warmup_ratio < 1:
            raise ValueError(f"warmup_ratio must be in [0, 1), not {self.warmup_ratio}")


@frozen
class Cadence:
    """When a run evaluates, saves and ends, in optimizer steps."""

    max_steps: int | None = None
    """Steps of the whole run, whatever the epochs say; None: as many as the epochs have."""
    eval_steps: int | None = None
    """Steps between two evaluations of the held-out rows; None: one at the end of every epoch.
    There is one before the first step and one after the last in any case."""
    save_steps: int | None = None
    """Steps between two checkpoints; None: one at the end of every epoch."""
    early_stopping_patience: int | None = None
    """Evaluations in a row without a lower held-out loss after which a run ends; None: it ends
    with its last step."""

    def __post_init__(self) -> None:
        """Refuse values that no run can have."""
        given = [name for name in paths(Cadence) if getattr(self, name) is not None]
        at_least_one(self, *given)


@frozen
class DataSettings:
    """How much of every row is trained on, and how many rows are held out."""

    cutoff_len: int = 2048
    """Longest text of a sample in tokens; time-series patches come on top."""
    validation_fraction: float = 0.1
    """Share of the kept rows held out for evaluation."""
    split_seed: int = 42
    """Seed that draws the held-out rows; they do not depend on the ``seed`` of training."""
    loss_on: LossOn = LossOn.ASSISTANT
    """Turns that carry loss where a row does not say so itself."""

    def __post_init__(self) -> None:
        """Refuse values that no run can have."""
        if self.cutoff_len < 1:
            raise ValueError(f"cutoff_len must be at least 1, not {self.cutoff_len}")
        if not 0 <= self.validation_fraction < 1:
            raise ValueError(
                f"validation_fraction must be in [0, 1), not {self.validation_fraction}"
            )


@frozen
class LearningSettings:
    """What is learned. The user or the search chooses these settings; memory never changes them."""

    method: Method = field(default_factory=Method)
    optimization: Optimization = field(default_factory=Optimization)
    data: DataSettings = field(default_factory=DataSettings)
    cadence: Cadence = field(default_factory=Cadence)
    seed: int = 42
    """Seed of the adapter's initial weights and of the order of rows."""
    given: tuple[str, ...] = field(default=(), compare=False)
    """Names of the settings that a person gave, which a search keeps; nothing is learned by it."""

    def __post_init__(self) -> None:
        """Refuse settings that exclude each other."""
        if self.cadence.early_stopping_patience is not None and not self.data.validation_fraction:
            raise ValueError(
                "early_stopping_patience needs held-out rows: validation_fraction cannot be 0"
            )


PACE = (
    "max_steps",
    "warmup_ratio",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "neftune_noise_alpha",
)
"""Settings that are learned with beside method, rate, schedule, epochs and batch."""


def pace_given(learning: LearningSettings) -> dict[str, object]:
    """Those of them that are not at their defaults."""
    own, usual = flat(learning), flat(LearningSettings())
    return {name: own[name] for name in PACE if own[name] != usual[name]}


def _default_batch() -> BatchLayout:
    # The defaults of hardware and learning settings must make the same effective batch.
    return BatchLayout(gradient_accumulation_steps=DEFAULT_EFFECTIVE_BATCH)


@frozen
class HardwareSettings:
    """How fast and how large a run is. The planner chooses; what is learned does not change."""

    accelerator: str = "cuda"
    """``cuda`` or ``cpu``."""
    devices: tuple[int, ...] = ()
    """Positions in the machine's ``devices`` of the GPUs used; empty: the first ``world_size``."""
    batch: BatchLayout = field(default_factory=_default_batch)
    base: BaseStorage = field(default_factory=BaseStorage)
    kernels: Kernels = field(default_factory=Kernels)
    sharding: Sharding = field(default_factory=Sharding)
    streaming: Streaming = field(default_factory=Streaming)
    cpu_threads: int | None = None
    """CPU threads of each training process; None: by the size of the model on a CPU, else torch's
    own choice."""

    @property
    def is_pure_bf16(self) -> bool:
        """Whether trained weights are bf16 without a copy in fp32, which DeepSpeed would keep."""
        return self.base.model_dtype is Dtype.BF16 and self.sharding.zero_stage == 0

    @property
    def partitions_packed(self) -> bool:
        """Whether ZeRO-3 partitions a 4-bit base, which each process builds whole on the host."""
        return self.sharding.zero_stage == 3 and self.base.has_4bit

    @property
    def effective_batch_size(self) -> int:
        """Sequences per optimizer step with these settings."""
        return (
            self.sharding.world_size
            * self.batch.micro_batch_size
            * self.batch.gradient_accumulation_steps
        )


def split_settings(settings: TrainingSettings) -> tuple[LearningSettings, HardwareSettings]:
    """Training settings as learning and hardware settings."""
    hardware = HardwareSettings(
        batch=settings.batch,
        base=settings.base,
        kernels=settings.kernels,
        sharding=settings.sharding,
        streaming=settings.streaming,
    )
    learning = LearningSettings(
        method=settings.method,
        optimization=Optimization(effective_batch_size=hardware.effective_batch_size),
        data=DataSettings(cutoff_len=settings.sequence_length),
    )
    return learning, hardware


def training_settings(
    learning: LearningSettings,
    hardware: HardwareSettings,
    sequence_length: int,
    series_patches: int = 0,
) -> TrainingSettings:
    """The settings that memory and time of a plan are estimated by.

    ``sequence_length``: decoder positions of a row; ``series_patches``: patches of a row.
    """
    return TrainingSettings(
        method=learning.method,
        base=hardware.base,
        kernels=hardware.kernels,
        sharding=hardware.sharding,
        streaming=hardware.streaming,
        batch=hardware.batch,
        sequence_length=sequence_length,
        series_patches=series_patches,
    )
