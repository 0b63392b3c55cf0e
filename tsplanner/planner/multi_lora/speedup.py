"""Whether it pays that trials share one base, and how many of them should. Pure functions.

Sharing pays where the micro-batch of one trial is too small for the GPU: a pass takes about as long
for the few tokens of one trial as for those of several. Where a trial alone keeps the GPU busy,
sharing only moves work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from memory_models.architecture import Architecture
from memory_models.bounds.cpu import on_cpu as in_host_memory
from memory_models.calibration import DEFAULT, Calibration
from memory_models.device import Device
from memory_models.estimate import estimate_memory
from memory_models.frozen import frozen
from memory_models.settings import LossKernel, TrainingSettings, changed
from memory_models.units import divisors
from tsplanner.datasets.records import LengthSummary
from tsplanner.planner.explain.reasons import AloneReason, Data
from tsplanner.planner.explain.sentences import ENGLISH, sentence
from tsplanner.planner.explain.templates import Phrase
from tsplanner.planner.packing import longest_pass, sensible_budgets, usual_passes
from tsplanner.throughput.rates import Rates
from tsplanner.throughput.step_parts import times_passes
from tsplanner.throughput.step_time import step_time

MIN_GAIN = 1.1
"""Trials share only from this gain on: two forecasts of one machine may differ by a tenth."""
MAX_TRIALS = 32
COUNTS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32)
"""Numbers of trials that are tried, besides all trials: beyond eight, one more changes little."""


@frozen
class Sharing:
    """How many trials share the base, and why."""

    trials: int
    """Trials at once; 1: trials run one after the other, or one per GPU."""
    settings: TrainingSettings
    """Settings of a pass; the micro-batch is that of each trial."""
    step_seconds: float
    """Seconds until every trial on the base has made one optimizer step."""
    gain: float
    """Trial steps per second over those of one trial by its own best settings."""
    process_bytes: int
    """Upper bound of the bytes of the process."""
    alone_reason: AloneReason | None = None
    """Why trials do not share; None: trials share."""
    tokens_per_step: int = 0
    """Tokens per optimizer step of one trial."""
    best_gain: float = 1.0
    """Largest gain of any number of trials that fits."""

    @property
    def reason(self) -> str:
        """One English sentence for a person."""
        return self.in_words()

    def in_words(self, language: str = ENGLISH) -> str:
        """How many trials share the base, or why none do."""
        if self.alone_reason is None:
            data: Data = {"trials": self.trials, "gain": self.gain}
            return sentence(Phrase.TRIALS_SHARE, data, language)
        alone: Data = {"tokens": self.tokens_per_step, "gain": self.best_gain}
        return sentence(self.alone_reason, alone, language)


@frozen
class SharingOptions:
    """How the number of trials is chosen."""

    length: int | None = None
    """Positions of the mean batch, by which time is predicted; None: those of the longest."""
    exactly: int | None = None
    """The number of trials, whatever the gain; None: the number that pays most."""
    lengths: LengthSummary | None = None
    """Lengths of the rows of trials that pack them; None: rows are padded."""


USUAL_OPTIONS = SharingOptions()


@frozen
class Room:
    """The memory that trials on one base may take."""

    free_bytes: int
    device: Device | None = None
    """None: the memory of the host, or of a device whose context is not counted."""
    calibration: Calibration = DEFAULT
    on_cpu: bool = False
    """The memory is that of the host."""


@frozen
class SizedSharing:
    """One way to share, sized."""

    settings: TrainingSettings
    seconds: float
    """Seconds of one optimizer step of all its trials."""
    gain: float
    upper_bytes: int
    """Upper bound of the bytes of the process."""


def best_sharing(
    architecture: Architecture,
    solo: TrainingSettings,
    ranks: Sequence[int],
    rates: Rates,
    room: Room,
    options: SharingOptions = USUAL_OPTIONS,
) -> Sharing:
    """The number of trials that makes most trial steps per second within the ``room``.

    ``solo``: the best settings of one trial, whose effective batch is kept. ``ranks``: LoRA ranks
    of all trials; any of them may share, so k trials are sized by the k largest. The caller has
    asked ``sharing_refusal`` for each trial.
    """
    exactly = options.exactly
    sized = partial(_upper, architecture, room)
    seconds = partial(_seconds, architecture, rates, options)
    alone = seconds(solo)
    found = [
        SizedSharing(
            settings=settings,
            seconds=(took := seconds(settings)),
            gain=alone * len(settings.method.adapter_ranks) / took,
            upper_bytes=upper,
        )
        for settings in sharing_candidates(solo, ranks, exactly, options.lengths)
        if (upper := sized(settings)) <= room.free_bytes
    ]
    best = max(found, key=lambda one: (one.gain, -one.upper_bytes), default=None)
    if best is not None and (exactly is not None or best.gain >= MIN_GAIN):
        return _shared(best)
    return Sharing(
        trials=1,
        settings=solo,
        step_seconds=alone,
        gain=1.0,
        process_bytes=sized(solo),
        alone_reason=_why_alone(best, len(ranks)),
        tokens_per_step=_tokens_per_step(solo, options),
        best_gain=1.0 if best is None else best.gain,
    )


def _shared(best: SizedSharing) -> Sharing:
    count = len(best.settings.method.adapter_ranks)
    return Sharing(
        trials=count,
        settings=best.settings,
        step_seconds=best.seconds,
        gain=best.gain,
        process_bytes=best.upper_bytes,
    )


def _why_alone(best: SizedSharing | None, trials: int) -> AloneReason:
    if trials < 2:
        return AloneReason.ONE_TRIAL
    return AloneReason.NO_ROOM if best is None else AloneReason.GPU_BUSY


def _seconds(
    architecture: Architecture, rates: Rates, options: SharingOptions, settings: TrainingSettings
) -> float:
    """Seconds in which every trial of a pass makes one optimizer step."""
    budget, lengths = settings.batch.token_budget, options.lengths
    if budget is None or lengths is None:
        mean = settings
        if options.length is not None:
            mean = replace(settings, sequence_length=options.length)
        return step_time(architecture, mean, rates).seconds
    found = usual_passes(lengths, settings.batch.gradient_accumulation_steps, budget)
    # The passes of all trials stand after one another, each as long as it is.
    one = replace(
        changed(settings, gradient_accumulation_steps=1),
        sequence_length=found.mean.positions,
        series_patches=min(settings.series_patches, found.mean.positions),
        row_length=found.mean.row_length,
    )
    return times_passes(step_time(architecture, one, rates), found.each).seconds


def _tokens_per_step(solo: TrainingSettings, options: SharingOptions) -> int:
    """Positions of the rows of a trial's step, padded or packed."""
    if solo.batch.is_packed and options.lengths is not None:
        return round(solo.batch.gradient_accumulation_steps * options.lengths.mean)
    rows = solo.batch.micro_batch_size * solo.batch.gradient_accumulation_steps
    return rows * (options.length or solo.sequence_length)


def sharing_candidates(
    solo: TrainingSettings,
    ranks: Sequence[int],
    exactly: int | None = None,
    lengths: LengthSummary | None = None,
) -> Iterator[TrainingSettings]:
    """Passes of two or more trials, by every micro-batch that divides a trial's batch.

    ``exactly``: that number of trials alone. ``lengths``: of the rows of trials that pack them,
    whose passes differ by their budget. Every pass uses the fused loss, the only loss whose memory
    on a shared base is modelled.
    """
    largest = sorted(ranks)
    most = min(len(largest), MAX_TRIALS)
    counts = sorted({*(count for count in COUNTS if count < most), most} - {0, 1})
    for count in counts if exactly is None else (exactly,):
        for layout in _layouts(solo, lengths):
            for checkpointing in (False, True):
                yield changed(
                    layout,
                    adapter_ranks=tuple(largest[-count:]),
                    lora_rank=largest[-1],
                    gradient_checkpointing=checkpointing,
                    checkpointed_layers=None,
                    loss_kernel=LossKernel.FUSED,
                )


def _layouts(solo: TrainingSettings, lengths: LengthSummary | None) -> Iterator[TrainingSettings]:
    """A trial's settings with its rows in every micro-batch, or in passes of every budget."""
    rows = solo.batch.micro_batch_size * solo.batch.gradient_accumulation_steps
    if solo.batch.token_budget is None or lengths is None:
        for micro in divisors(rows, rows):
            steps = rows // micro
            yield changed(solo, micro_batch_size=micro, gradient_accumulation_steps=steps)
        return
    for budget in {*sensible_budgets(lengths, rows), solo.batch.token_budget}:
        longest = longest_pass(lengths, rows, budget)
        yield changed(
            solo,
            token_budget=budget,
            sequence_length=longest,
            series_patches=solo.series_patches * longest // solo.sequence_length,
        )


def _upper(architecture: Architecture, room: Room, settings: TrainingSettings) -> int:
    estimate = estimate_memory(architecture, settings, room.device, room.calibration)
    if room.on_cpu:
        estimate = in_host_memory(estimate, room.calibration)
    return estimate.process_bytes.upper
