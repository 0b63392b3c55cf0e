"""The Plan: one frozen record that every later step reads and every run folder holds."""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum

from memory_models.architecture import Architecture
from memory_models.device import Machine
from memory_models.frozen import frozen
from memory_models.result import Interval, MemoryEstimate
from memory_models.settings import BatchLayout
from tsplanner.datasets.records import DataSource, LengthSummary
from tsplanner.planner.explain.reasons import Explanation
from tsplanner.planner.packing import longest_pass
from tsplanner.planner.settings import HardwareSettings, LearningSettings

SCHEMA_VERSION = 2
ASSUMED_POSITIONS_PER_PATCH = 4
"""A sample whose series are not known is taken to have one patch in four positions."""


@frozen
class FileSeen:
    """A file as it was when a plan read it; a model's weights count as one file."""

    path: str
    bytes: int
    modified_ns: int
    """Nanoseconds since 1970 at which it was last written."""
    digest: str
    """Checksum of its content, sampled where it is large; of weights: of names, sizes, headers."""


@frozen
class ModelRef:
    """Where the model is, its name and its shapes."""

    name: str
    path: str | None
    """Folder with config.json (and weights, if there are any); None: a bare preset."""
    model_type: str
    parameters_total: int
    parameters_trainable: int
    tokenizer: str | None = None
    """Folder of a tokenizer that replaces the model's own; None: the model's own is used."""
    config: dict[str, object] = field(default_factory=dict)
    """config.json as it was read; it builds a model of random weights where there are none."""
    has_weights: bool = False
    weights_problem: str | None = None
    """Why weights that are there cannot be loaded, as a clause; None: none are, or they can."""
    files: tuple[FileSeen, ...] = ()
    """What the plan read of the folder; empty: not known."""
    trust_remote_code: bool = False
    architecture: Architecture
    """The shapes that bytes and seconds are computed from."""

    @property
    def without_weights(self) -> str | None:
        """Why a run starts from random weights, as a clause; None: it starts from the model's."""
        if self.has_weights:
            return None
        return self.weights_problem or "there are no weights beside config.json"


@frozen
class DatasetRef:
    """The dataset that is trained on, with the lengths of its rows."""

    name: str
    path: str | None
    """File or folder, the first if there are several; None: no dataset was given, and every
    sequence is taken to be cutoff_len long."""
    further: tuple[str, ...] = ()
    """Further files and folders."""
    columns: tuple[tuple[str, str], ...] = ()
    """Our names of fields and the dataset's own, as a person gave them."""
    lengths: LengthSummary
    on_bad_rows: str = "refuse"
    """``refuse``: a bad row is an error; ``drop``: bad rows are left out."""
    dropped_file: str | None = None
    """File that names every row left out, as ``file:line: reason``; None: no row was left out."""
    seen: FileSeen | None = None
    """The file, or all files as one, as the plan read it; None: not known."""

    @property
    def source(self) -> DataSource | None:
        """What the rows are read from; None: no dataset was given."""
        if self.path is None:
            return None
        return DataSource(paths=(self.path, *self.further), columns=self.columns)

    def sequence_length(self, micro_batch_size: int) -> int:
        """Decoder positions of the longest padded micro-batch of this size."""
        if micro_batch_size > 1 and self.lengths.longest_batch is not None:
            return self.lengths.longest_batch
        return self.lengths.longest

    def longest_of(self, layout: BatchLayout) -> int:
        """Decoder positions of the longest sequence that a layout makes of the rows.

        Padded, it is the longest micro-batch; packed, the longest pass.
        """
        if layout.token_budget is None:
            return self.sequence_length(layout.micro_batch_size)
        rows = layout.gradient_accumulation_steps
        return longest_pass(self.lengths, rows, layout.token_budget)

    def patches_of(self, layout: BatchLayout) -> int:
        """Patches of the longest sequence that a layout makes, for a model with an encoder.

        Packed, rows of the mean share of patches fill the pass.
        """
        longest = self.longest_of(layout)
        one = self.series_patches(longest)
        if layout.token_budget is None or self.lengths.mean_text is None:
            return one
        # The patches of a series take the places of its two marks.
        share = (self.lengths.mean - self.lengths.mean_text + 2) / self.lengths.mean
        return max(one, min(longest, round(longest * share)))

    def series_patches(self, length: int) -> int:
        """Patches of a sample of ``length`` positions, for a model with an encoder."""
        most = self.lengths.most_patches
        return length // ASSUMED_POSITIONS_PER_PATCH if most is None else min(length, most)


def no_dataset(length: int) -> DatasetRef:
    """A dataset without rows, whose samples are taken to be ``length`` decoder positions long."""
    lengths = LengthSummary(
        rows_total=0,
        rows_kept=0,
        longest=length,
        mean=float(length),
        quantiles=(length,),
        counted_by="cutoff_len",
    )
    return DatasetRef(name="(none)", path=None, lengths=lengths)


class Verdict(StrEnum):
    """Whether a plan fits: the upper bound does, only the expected value does, or neither does."""

    FITS = "fits"
    TIGHT = "tight"
    DOES_NOT_FIT = "does not fit"


def verdict_of(needed: Interval, free: int) -> Verdict:
    """The verdict on memory that needs so many bytes where ``free`` bytes are free."""
    if needed.upper <= free:
        return Verdict.FITS
    return Verdict.TIGHT if needed.expected <= free else Verdict.DOES_NOT_FIT


@frozen
class TimeEstimate:
    """Seconds of a step and of the full run, with their relative error."""

    step_seconds: float
    relative_error: float
    """Half-width of the 95 % interval, as a share of the value."""
    steps_per_epoch: int
    total_steps: int
    total_seconds: float
    """Seconds of steps, evaluations and checkpoints, without starting the process and loading."""
    evaluation_seconds: float = 0.0
    """Part of ``total_seconds`` that goes to evaluations."""
    saving_seconds: float = 0.0
    """Part of ``total_seconds`` that goes to checkpoints."""
    basis: str
    """Source of the rates: ``datasheet``, ``measured`` or ``probe on this machine``."""

    total_relative_error: float | None = None
    """Half-width of the 95 % interval of ``total_seconds``, as a share; None: as that of a step."""

    @property
    def total_margin(self) -> float:
        """Half-width of the 95 % interval of ``total_seconds``, in seconds."""
        error = self.total_relative_error
        return self.total_seconds * (self.relative_error if error is None else error)

    def holds(self, seconds: float) -> bool:
        """Whether a measured step lies within the 95 % interval."""
        return abs(seconds - self.step_seconds) <= self.relative_error * self.step_seconds


@frozen
class Corrections:
    """Factors by which earlier probes on this machine correct predictions."""

    memory_factor: float = 1.0
    """Measured over predicted process bytes."""
    work_factor: float = 1.0
    """Measured over predicted seconds of the GPU's own work."""
    launch_factor: float = 1.0
    """Measured over predicted seconds in which the host issues that work."""


@frozen
class Alternative:
    """Other hardware settings that were weighed against those of the plan."""

    hardware: HardwareSettings
    verdict: Verdict
    process_bytes: Interval
    """Bytes per process, as the driver sees them."""
    relative_speed: float
    """Samples per second over those of the plan."""
    explanation: Explanation
    """Why these settings are not the plan's."""


@frozen
class Plan:
    """Learning and hardware settings, their predicted cost, and the grounds of the prediction."""

    model: ModelRef
    dataset: DatasetRef
    machine: Machine
    learning: LearningSettings
    hardware: HardwareSettings
    memory: MemoryEstimate
    time: TimeEstimate
    free_bytes: int
    """Memory that is free on the fullest device used (host RAM on a CPU).

    Where processes stream unlike numbers of layers, memory and free bytes are those of the process
    that is closest to what its device has.
    """
    verdict: Verdict
    corrections: Corrections = field(default_factory=Corrections)
    assumptions: tuple[str, ...] = field(default=())
    alternatives: tuple[Alternative, ...] = field(default=())
    """The best of what was not chosen, as far as a person is shown it; empty: not known."""

    @property
    def architecture(self) -> Architecture:
        """The shapes that bytes and seconds are computed from."""
        return self.model.architecture

    @property
    def sequence_length(self) -> int:
        """Decoder positions that memory was sized for: the longest batch that can occur."""
        return self.dataset.longest_of(self.hardware.batch)
