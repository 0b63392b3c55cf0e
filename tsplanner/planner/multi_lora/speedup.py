"""Does packing trials on one base pay, and how many of them? Pure: shapes, rates and bytes in.

It pays where one trial's micro-batch is too small for the GPU: a pass costs about as much for one
trial's few tokens as for several trials'. Where a trial alone keeps the GPU busy, it only moves
work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from memory_models.architecture import Architecture
from memory_models.bounds.cpu import on_cpu as in_host_memory
from memory_models.calibration import DEFAULT, Calibration
from memory_models.device import Device
from memory_models.estimate import estimate_memory
from memory_models.settings import LossKernel, TrainingSettings, changed
from tsplanner.throughput.rates import Rates
from tsplanner.throughput.step_time import step_time

LEAST_GAIN = 1.1
"""Below it packing is not chosen: less than what two forecasts of one machine may differ by."""
MOST_TRIALS = 32
COUNTS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32)
"""Trials at once that are looked at, besides all of them: beyond eight a few more change little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """How many trials share the base, and why."""

    trials: int
    """At once; 1: they run one after the other, or one a GPU."""
    settings: TrainingSettings
    """Of the pass; the micro-batch is each trial's."""
    step_seconds: float
    """Until every trial of the pack has made one optimizer step."""
    gain: float
    """Trial steps a second over those of one trial by its own best settings."""
    process_bytes: int
    """Upper bound."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a packing has to go by besides the trials and the device."""

    length: int | None = None
    """Positions of the mean batch, by which time goes; None: as memory, by the longest."""
    exactly: int | None = None
    """So many trials, whatever they gain; None: as many as pay."""
    on_cpu: bool = False
    """Sized for host memory."""


USUAL = Terms()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to pack, sized."""

    settings: TrainingSettings
    seconds: float
    """Of one optimizer step of all its trials."""
    gain: float
    upper: int
    """Bytes of the process."""


def best_packing(
    architecture: Architecture,
    solo: TrainingSettings,
    ranks: Sequence[int],
    rates: Rates,
    free_bytes: int,
    device: Device | None = None,
    calibration: Calibration = DEFAULT,
    terms: Terms = USUAL,
) -> Packing:
    """The packing that makes most trial steps a second within ``free_bytes``.

    ``solo``: the best settings of one trial; its effective batch is kept. ``ranks``: of all trials;
    any of them may stand together, so k trials are sized by the k largest. The caller has asked
    ``packing_refusal`` for each trial.
    """
    length, exactly = terms.length, terms.exactly
    sized = partial(
        _upper, architecture, device=device, calibration=calibration, on_cpu=terms.on_cpu
    )

    def seconds(settings: TrainingSettings) -> float:
        mean = settings if length is None else replace(settings, sequence_length=length)
        return step_time(architecture, mean, rates).seconds

    alone = seconds(solo)
    found = [
        Candidate(
            settings=settings,
            seconds=(took := seconds(settings)),
            gain=alone * len(settings.method.adapter_ranks) / took,
            upper=upper,
        )
        for settings in candidates(solo, ranks, exactly)
        if (upper := sized(settings)) <= free_bytes
    ]
    best = max(found, key=lambda one: (one.gain, -one.upper), default=None)
    if best is not None and (exactly is not None or best.gain >= LEAST_GAIN):
        return _packed(best)
    return Packing(
        trials=1,
        settings=solo,
        step_seconds=alone,
        gain=1.0,
        process_bytes=sized(solo),
        reason=_why_not(best, solo, len(ranks), length),
    )


def _packed(best: Candidate) -> Packing:
    count = len(best.settings.method.adapter_ranks)
    return Packing(
        trials=count,
        settings=best.settings,
        step_seconds=best.seconds,
        gain=best.gain,
        process_bytes=best.upper,
        reason=f"{count} trials in one pass make {best.gain:.1f}x as many steps a second as one.",
    )


def _why_not(
    best: Candidate | None, solo: TrainingSettings, trials: int, length: int | None
) -> str:
    if trials < 2:
        return "There is one trial alone."
    if best is None:
        return "No two trials fit beside each other on one base."
    rows = solo.batch.micro_batch_size * solo.batch.gradient_accumulation_steps
    tokens = rows * (length or solo.sequence_length)
    return f"A trial's {tokens} tokens a step keep the GPU busy alone ({best.gain:.2f}x packed)."


def candidates(
    solo: TrainingSettings, ranks: Sequence[int], exactly: int | None = None
) -> Iterator[TrainingSettings]:
    """Packs of two and more, or of ``exactly`` so many, by every micro-batch that divides a batch.

    All with the fused loss, the one whose memory in a pack is known.
    """
    batch, largest = (
        solo.batch.micro_batch_size * solo.batch.gradient_accumulation_steps,
        sorted(ranks),
    )
    most = min(len(largest), MOST_TRIALS)
    counts = sorted({*(count for count in COUNTS if count < most), most} - {0, 1})
    for count in counts if exactly is None else (exactly,):
        for micro in (size for size in range(1, batch + 1) if batch % size == 0):
            for checkpointing in (False, True):
                yield changed(
                    solo,
                    packed_ranks=tuple(largest[-count:]),
                    lora_rank=largest[-1],
                    micro_batch_size=micro,
                    gradient_accumulation_steps=batch // micro,
                    gradient_checkpointing=checkpointing,
                    checkpointed_layers=None,
                    loss_kernel=LossKernel.FUSED,
                )


def _upper(
    architecture: Architecture,
    settings: TrainingSettings,
    *,
    device: Device | None,
    calibration: Calibration,
    on_cpu: bool,
) -> int:
    estimate = estimate_memory(architecture, settings, device, calibration)
    if on_cpu:
        estimate = in_host_memory(estimate, calibration)
    return estimate.process_bytes.upper
