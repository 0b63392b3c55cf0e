"""The time and the cost of a full run, from the lengths of its rows. Pure."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, sqrt

from memory_models.frozen import frozen
from memory_models.settings import Attention, DecoderKernels
from memory_models.units import ceil_div
from tsplanner.datasets.split import held_out_count
from tsplanner.planner.packing import EVALUATED_TOGETHER, UsualPasses, usual_passes
from tsplanner.planner.plan import DatasetRef, Plan
from tsplanner.planner.settings import HardwareSettings, LearningSettings
from tsplanner.planner.steps import checkpoints, evaluations, steps_per_epoch, total_steps
from tsplanner.throughput.flops import (
    FLEX_COMPILE_SECONDS,
    FLEX_FORWARD_COMPILE_SECONDS,
)
from tsplanner.throughput.rates import DISK_WRITE_BYTES_PER_SECOND, HostSeconds
from tsplanner.throughput.step_parts import StepTime
from tsplanner.throughput.widths import different_widths, usual_widths

BYTES_PER_TRAINED_PARAMETER = 12
"""Of a checkpoint: fp32 weight and Adam's two moments; the gradient is not saved."""
FORWARD_SHARE = 1 / 3
"""Share of forward in the matrix products of a training step with gradients of all inputs."""
SECONDS_PER_HOUR = 3600
SAMPLES_PRICED = 1000
"""Samples that are priced where the length of a run is not known."""


@frozen
class Forecast:
    """A full run, without the start of its process and the loading of the model."""

    steps_per_epoch: int
    total_steps: int
    training_seconds: float
    evaluation_seconds: float
    one_time_seconds: float = 0.0
    """Of the first step, and of the first micro-batch of every width."""
    saving_seconds: float = 0.0
    """Of writing checkpoints."""

    @property
    def total_seconds(self) -> float:
        """Seconds of training, evaluations and checkpoints together, with what is paid once."""
        rest = self.evaluation_seconds + self.one_time_seconds + self.saving_seconds
        return self.training_seconds + rest

    def relative_error(self, *, step_error: float, forward_error: float) -> float:
        """Half-width of the 95 % interval of all seconds, from those of a step and of a forward.

        The errors add up, since one host makes both. What is paid once is the host's as well.
        """
        rest = self.evaluation_seconds + self.one_time_seconds + self.saving_seconds
        return (step_error * self.training_seconds + forward_error * rest) / self.total_seconds


@frozen
class Cost:
    """A price with its error bar, in the currency of the price that was given."""

    of: str
    """What the price is for: the full run, or a number of samples if its length is not known."""
    gpu_hours: float
    price_per_hour: float
    expected: float
    lower: float
    upper: float


@lru_cache(maxsize=4096)
def mean_longest(quantiles: tuple[int, ...], draws: int) -> float:
    """Mean length of the longest of ``draws`` rows, in positions.

    Let Q(u) be the length below which the share u of the rows lies. The longest of n draws then
    has the mean of n u^(n-1) Q(u) over u. Q is taken as straight between the quantiles, which gives
    Q(1) - sum of slope (b^(n+1) - a^(n+1)) / (n + 1) over the pieces [a, b].
    Ignores: an epoch draws no row twice.
    """
    pieces = len(quantiles) - 1
    missing = 0.0
    for piece in range(pieces):
        slope = (quantiles[piece + 1] - quantiles[piece]) * pieces
        low, high = piece / pieces, (piece + 1) / pieces
        missing += slope * (high ** (draws + 1) - low ** (draws + 1)) / (draws + 1)
    return quantiles[-1] - missing


def batch_length(dataset: DatasetRef, hardware: HardwareSettings) -> int:
    """Length of the micro-batch that decides the time of a step, in positions.

    A micro-batch is padded to its longest row, and processes wait for each other. Under ZeRO-2 and
    3, which reduce or gather in every micro-batch, they wait in every micro-batch; otherwise they
    wait once per step, where the differences of several micro-batches even out with the square root
    of their number.
    """
    quantiles = row_quantiles(dataset)
    micro, world_size = hardware.batch.micro_batch_size, hardware.sharding.world_size
    own = mean_longest(quantiles, micro)
    waits = mean_longest(quantiles, micro * world_size) - own
    meetings = (
        1 if hardware.sharding.zero_stage >= 2 else hardware.batch.gradient_accumulation_steps
    )
    length = own + waits / sqrt(meetings)
    return max(1, min(dataset.sequence_length(micro), round(length)))


def batch_widths(dataset: DatasetRef, hardware: HardwareSettings) -> tuple[int, ...]:
    """Equally likely widths of the micro-batches, in positions; their mean is `batch_length`."""
    mean = batch_length(dataset, hardware)
    widths = usual_widths(row_quantiles(dataset), hardware.batch.micro_batch_size)
    stretch = mean * len(widths) / sum(widths)
    longest = dataset.longest_of(hardware.batch)
    return tuple(max(1, min(longest, round(width * stretch))) for width in widths)


def row_quantiles(dataset: DatasetRef) -> tuple[int, ...]:
    """Quantiles of the rows' lengths in positions; the mean alone if no others are known."""
    return dataset.lengths.quantiles or (round(dataset.lengths.mean),)


def row_length(dataset: DatasetRef) -> int:
    """Length of the mean row alone, which is what an evaluation sees, in positions."""
    mean = mean_longest(row_quantiles(dataset), 1)
    return max(1, min(dataset.lengths.longest, round(mean)))


def training_rows(rows: int, validation_fraction: float) -> int:
    """Number of rows that are trained on; a fraction above zero holds out at least one row."""
    return rows - held_out_count(rows, validation_fraction)


def forecast(
    dataset: DatasetRef,
    learning: LearningSettings,
    hardware: HardwareSettings,
    step: StepTime,
    forward_seconds: float,
    host: HostSeconds,
    trained_parameters: int = 0,
) -> Forecast:
    """The full run, from the seconds of one step and of one evaluated row.

    The last step of an epoch has fewer micro-batches where the rows do not fill it. ``host`` says
    what is paid once; an evaluation has the forward alone of what a new width costs.
    Ignores: an early end, and the weights of a better evaluation, which are smaller than a
    checkpoint.
    """
    rows = training_rows(dataset.lengths.rows_kept, learning.data.validation_fraction)
    together = hardware.sharding.world_size * hardware.batch.micro_batch_size
    steps = _epoch_steps(rows, hardware)
    micro_batches = ceil_div(rows, together) if rows else hardware.batch.gradient_accumulation_steps
    # ZeRO-2 and 3 reduce or gather in every micro-batch; all others communicate once per step.
    once = step.optimizer + (step.communication if hardware.sharding.zero_stage < 2 else 0.0)
    each = (step.seconds - once) / hardware.batch.gradient_accumulation_steps
    whole, left = divmod(total_steps(learning, steps), steps)
    together = min(micro_batches, hardware.batch.gradient_accumulation_steps)
    passes = whole * micro_batches + left * together
    evaluated = evaluated_rows(dataset, learning, hardware)
    widths = _different(dataset, hardware, passes)
    widths += FORWARD_SHARE * _different_evaluated(dataset, hardware, evaluated)
    first = host.first_step_seconds
    if hardware.kernels.decoder_kernels is DecoderKernels.COMPILED:
        first += host.compile_seconds
    first += compiling_seconds(dataset, learning, hardware)
    return Forecast(
        steps_per_epoch=steps,
        total_steps=whole * steps + left,
        training_seconds=passes * each + (whole * steps + left) * once,
        evaluation_seconds=(1 + evaluations(learning, steps)) * evaluated * forward_seconds,
        one_time_seconds=first + widths * host.new_width_seconds,
        saving_seconds=checkpoints(learning, steps)
        * trained_parameters
        * BYTES_PER_TRAINED_PARAMETER
        / DISK_WRITE_BYTES_PER_SECOND,
    )


def compiling_seconds(
    dataset: DatasetRef, learning: LearningSettings, hardware: HardwareSettings
) -> float:
    """Seconds in which flex_attention is compiled: for steps, and for evaluations if there are any.

    Ignores: kernels that earlier processes left compiled. One run read those of the probe before it
    within 1.4 s, another compiled for 13 s again (flex_runs and packed_long_b of 2026-12-01 in
    benchmarks/data/measurements).
    """
    if hardware.kernels.attention is not Attention.FLEX_ATTENTION:
        return 0.0
    evaluates = evaluated_rows(dataset, learning, hardware) > 0
    return FLEX_COMPILE_SECONDS + FLEX_FORWARD_COMPILE_SECONDS * evaluates


def compiling_per_step(
    dataset: DatasetRef, learning: LearningSettings, hardware: HardwareSettings
) -> float:
    """The same, shared out over the steps of the run."""
    whole = compiling_seconds(dataset, learning, hardware)
    rows = training_rows(dataset.lengths.rows_kept, learning.data.validation_fraction)
    return whole and whole / max(1, total_steps(learning, _epoch_steps(rows, hardware)))


def _epoch_steps(rows: int, hardware: HardwareSettings) -> int:
    return steps_per_epoch(
        rows,
        micro_batch_size=hardware.batch.micro_batch_size,
        world_size=hardware.sharding.world_size,
        gradient_accumulation_steps=hardware.batch.gradient_accumulation_steps,
    )


def evaluated_rows(
    dataset: DatasetRef, learning: LearningSettings, hardware: HardwareSettings
) -> int:
    """Held-out rows of a process."""
    kept = dataset.lengths.rows_kept
    trained = training_rows(kept, learning.data.validation_fraction)
    return ceil(max(0, kept - trained) / hardware.sharding.world_size)


def evaluation_passes(dataset: DatasetRef, budget: int, rows: int) -> UsualPasses:
    """The passes of a packed evaluation of ``rows`` rows, of as many as are cut at once."""
    return usual_passes(dataset.lengths, max(1, min(rows, EVALUATED_TOGETHER)), budget)


def _different(dataset: DatasetRef, hardware: HardwareSettings, micro_batches: int) -> float:
    """Expected number of different widths of the micro-batches, or packed passes, of a process.

    ``micro_batches``: their number; of packed rows, which go through one by one, that of the rows.
    """
    batch = hardware.batch
    if batch.token_budget is None:
        return different_widths(row_quantiles(dataset), batch.micro_batch_size, micro_batches)
    found = usual_passes(dataset.lengths, batch.gradient_accumulation_steps, batch.token_budget)
    return different_widths(found.widths, 1, round(found.per_row * micro_batches))


def _different_evaluated(dataset: DatasetRef, hardware: HardwareSettings, rows: int) -> float:
    """Expected number of different widths that an evaluation of ``rows`` rows meets."""
    if hardware.batch.token_budget is None or not rows:
        return different_widths(row_quantiles(dataset), 1, rows)
    found = evaluation_passes(dataset, hardware.batch.token_budget, rows)
    return different_widths(found.widths, 1, round(found.per_row * rows))


def run_cost(plan: Plan, price_per_hour: float) -> Cost:
    """The cost of the full run at a price per GPU-hour (on a CPU: per machine-hour).

    A plan without a dataset has no length, so SAMPLES_PRICED samples are priced instead.
    """
    seconds, of = plan.time.total_seconds, "the full run"
    if not plan.dataset.lengths.rows_kept:
        steps = SAMPLES_PRICED / plan.hardware.effective_batch_size
        seconds, of = steps * plan.time.step_seconds, f"{SAMPLES_PRICED:,} samples"
    hours = seconds / SECONDS_PER_HOUR * plan.hardware.sharding.world_size
    expected = hours * price_per_hour
    error = plan.time.relative_error
    if plan.dataset.lengths.rows_kept and plan.time.total_relative_error is not None:
        error = plan.time.total_relative_error
    return Cost(
        of=of,
        gpu_hours=hours,
        price_per_hour=price_per_hour,
        expected=expected,
        lower=expected * (1 - error),
        upper=expected * (1 + error),
    )
