"""A run as the report sees it, whether it was trained here or recorded elsewhere.

None stands for a value that is not known. Bytes are per rank.
"""

from __future__ import annotations

from dataclasses import field

from memory_models.frozen import frozen
from tsplanner.planner.plan import Plan
from tsplanner.report.page import Remark
from tsplanner.report.records.answers import SampledAnswer
from tsplanner.report.records.metric_lines import Points
from tsplanner.report.records.overfitting import CurveVerdict
from tsplanner.report.records.trials import Trial
from tsplanner.training.job import Status
from tsplanner.training.record import ValuesChecked
from tsplanner.tune.search.paired_eval import PerExampleLosses


@frozen
class ModelSummary:
    """The base model and how its weights were stored."""

    name: str
    parameters: int | None
    quantization: str | None
    """None: the base was not quantized."""
    precision: str
    """Storage type of a base that is not quantized."""

    @property
    def stored_as(self) -> str:
        """How the base was stored."""
        return self.quantization or self.precision


@frozen
class HardwareSummary:
    """What a run used."""

    device: str
    """The name of one GPU, or the CPU with its cores."""
    gpus: int
    """World size; 1 on a CPU."""
    on_cpu: bool
    sharding: str
    """``none``, or the ZeRO stage and what was offloaded."""

    @property
    def label(self) -> str:
        """Number and name of the devices."""
        return self.device if self.on_cpu else f"{self.gpus}x {self.device}"


@frozen
class DatasetSummary:
    """The rows that a run was given."""

    name: str
    rows_total: int
    rows_kept: int
    mean_sequence: float
    """Decoder positions per row, on average."""
    validation_fraction: float


@frozen
class SettingsSummary:
    """What a run was told to learn with."""

    method: str
    rank: int | None
    """LoRA rank; None: the method has no adapters."""
    learning_rate: float | None
    schedule: str | None
    seed: int | None
    effective_batch: int
    micro_batch: int
    token_budget: int | None = None
    """Positions per pass of packed rows; None: rows are padded."""
    pace: str | None = ""
    """Warm-up, decay, clipping and noise that are not at their defaults, by the settings' names;
    None: not known."""


@frozen
class Outcome:
    """How a run ended and how fast it was."""

    epochs: float
    steps: int
    status: str = str(Status.OK)
    message: str = ""
    seconds: float | None = None
    samples_per_second: float | None = None
    """Of all devices together."""
    step_seconds: float | None = None
    """Median over the optimizer steps."""


@frozen
class Losses:
    """Losses in nats per token."""

    mean: float | None = None
    """Mean over the training steps."""
    last: float | None = None
    """Last training step."""
    held_out: float | None = None
    """Lowest on the held-out rows."""
    best_epoch: float | None = None
    """Epoch after which the held-out loss was lowest."""
    held_out_rows: PerExampleLosses = field(default_factory=list)
    """(loss, tokens) of each held-out row at the best evaluation; empty: not known."""
    values: ValuesChecked | None = None
    """What the answers to held-out rows state; None: nothing was checked."""
    answers: tuple[SampledAnswer, ...] = ()
    """Answers to a few held-out rows after each evaluation; empty: nobody asked for them."""


@frozen
class PeakMemory:
    """Measured peaks in bytes per rank."""

    process_bytes: int | None = None
    reserved_bytes: int | None = None
    allocated_bytes: int | None = None


@frozen
class Curves:
    """Losses over the steps of a run."""

    training: Points = ()
    evaluations: Points = ()
    verdict: CurveVerdict | None = None


@frozen
class RunSummary:
    """One run."""

    name: str
    model: ModelSummary
    hardware: HardwareSummary
    dataset: DatasetSummary
    settings: SettingsSummary
    outcome: Outcome
    losses: Losses = field(default_factory=Losses)
    memory: PeakMemory = field(default_factory=PeakMemory)
    curves: Curves = field(default_factory=Curves)
    plan: Plan | None = None
    """None: the run was recorded elsewhere."""
    remarks: tuple[Remark, ...] = ()
    """English sentences about the run, such as the decision of a search."""
    versions: dict[str, str] = field(default_factory=dict)
    """Version of each package by its name."""
    trials: tuple[Trial, ...] = ()
    """Trials of the search that the run came from; empty: there was none."""

    @property
    def random_weights(self) -> str | None:
        """Why the run began from random weights, as a clause; None: it did not, or was recorded."""
        return None if self.plan is None else self.plan.model.without_weights

    @property
    def samples_per_second_and_gpu(self) -> float | None:
        """Samples per second and device: the speed that different numbers of GPUs share."""
        rate = self.outcome.samples_per_second
        return None if rate is None else rate / self.hardware.gpus


@frozen
class LeftOut:
    """A run folder that has no row in the report, and why."""

    run: str
    key: str
    """Message for the reason."""
    detail: str = ""


@frozen
class Found:
    """The runs under a saves folder."""

    runs: tuple[RunSummary, ...]
    left_out: tuple[LeftOut, ...] = ()
