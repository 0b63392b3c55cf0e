"""The two kinds of settings of a plan: what is learned, and how fast and how big."""

from __future__ import annotations

from dataclasses import dataclass, field

from memory_models.settings import (
    BaseStorage,
    BatchLayout,
    Kernels,
    Method,
    Sharding,
    TrainingSettings,
)

DEFAULT_EFFECTIVE_BATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimization:
    """How far and how fast weights move."""

    learning_rate: float = 2e-4
    timeseries_lr: float | None = None
    """Learning rate of what is trained in the time-series encoder; None: ``learning_rate``."""
    lr_scheduler_type: str = "cosine"
    warmup_ratio: float = 0.03
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    num_train_epochs: int = 3
    effective_batch_size: int = DEFAULT_EFFECTIVE_BATCH
    """Sequences per optimizer step, all GPUs and accumulation steps together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """What of the rows is trained on, and what is held out."""

    cutoff_len: int = 2048
    """Longest text of a sample in tokens; time-series patches come on top."""
    validation_fraction: float = 0.1
    """Share of the kept rows held out for evaluation."""
    split_seed: int = 42
    """Seed of the draw of the held-out rows, which stay the same whatever ``seed`` is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningSettings:
    """What is learned. The user or the search chooses it; memory never changes it."""

    method: Method = field(default_factory=Method)
    optimization: Optimization = field(default_factory=Optimization)
    data: DataSettings = field(default_factory=DataSettings)
    seed: int = 42
    """Seed of the adapter's first weights and of the order of rows."""


def _default_batch() -> BatchLayout:
    return BatchLayout(gradient_accumulation_steps=DEFAULT_EFFECTIVE_BATCH)


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareSettings:
    """How fast and how big. The planner alone moves it; it never changes what is learned."""

    accelerator: str = "cuda"
    """``cuda`` or ``cpu``."""
    devices: tuple[int, ...] = ()
    """Positions in the machine's ``devices`` of the GPUs used; empty: the first ``world_size``."""
    batch: BatchLayout = field(default_factory=_default_batch)
    base: BaseStorage = field(default_factory=BaseStorage)
    kernels: Kernels = field(default_factory=Kernels)
    sharding: Sharding = field(default_factory=Sharding)

    @property
    def effective_batch_size(self) -> int:
        """Sequences per optimizer step that these settings give."""
        return (
            self.sharding.world_size
            * self.batch.micro_batch_size
            * self.batch.gradient_accumulation_steps
        )


def split_settings(settings: TrainingSettings) -> tuple[LearningSettings, HardwareSettings]:
    """Learning and hardware settings of exactly these training settings."""
    hardware = HardwareSettings(
        batch=settings.batch,
        base=settings.base,
        kernels=settings.kernels,
        sharding=settings.sharding,
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
    """The estimator's view of a plan at one sequence length (decoder positions)."""
    return TrainingSettings(
        method=learning.method,
        base=hardware.base,
        kernels=hardware.kernels,
        sharding=hardware.sharding,
        batch=hardware.batch,
        sequence_length=sequence_length,
        series_patches=series_patches,
    )
