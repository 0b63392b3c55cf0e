"""Does packing trials on one base pay, and how many of them? Pure: shapes, rates and bytes in.

It pays where one trial's micro-batch is too small for the GPU: a pass costs about as much for one
trial's few tokens as for several trials'. Where a trial alone keeps the GPU busy, it only moves
work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from memory_models.architecture import Architecture
from memory_models.calibration import DEFAULT, Calibration
from memory_models.device import Device
from memory_models.estimate import estimate_memory
from memory_models.settings import LossKernel, TrainingSettings
from tsplanner.throughput.rates import Rates
from tsplanner.throughput.step_time import step_time

LEAST_GAIN = 1.1
"""Below it packing is not chosen: less than what two forecasts of one machine may differ by."""
MOST_TRIALS = 32


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


def best_packing(
    architecture: Architecture,
    solo: TrainingSettings,
    ranks: Sequence[int],
    rates: Rates,
    free_bytes: int,
    device: Device | None = None,
    calibration: Calibration = DEFAULT,
) -> Packing:
    """The packing that makes most trial steps a second within ``free_bytes``.

    ``solo``: the best settings of one trial; its effective batch is kept. ``ranks``: of all trials;
    any of them may stand together, so k trials are sized by the k largest. The caller has asked
    ``packing_refusal`` for each trial.
    """
    alone = step_time(architecture, solo, rates).seconds
    found = [
        (alone * len(settings.packed_ranks) / seconds, settings, seconds, upper)
        for settings in candidates(solo, ranks)
        if (upper := _upper(architecture, settings, device, calibration)) <= free_bytes
        and (seconds := step_time(architecture, settings, rates).seconds)
    ]
    best = max(found, key=lambda item: (item[0], -item[3]), default=None)
    tokens = solo.micro_batch_size * solo.gradient_accumulation_steps * solo.sequence_length
    if best is None:
        reason = "No two trials fit beside each other on one base."
        if len(ranks) < 2:
            reason = "There is one trial alone."
    elif best[0] < LEAST_GAIN:
        reason = (
            f"A trial's {tokens} tokens a step keep the GPU busy alone ({best[0]:.2f}x packed)."
        )
    else:
        gain, settings, seconds, upper = best
        count = len(settings.packed_ranks)
        return Packing(
            trials=count,
            settings=settings,
            step_seconds=seconds,
            gain=gain,
            process_bytes=upper,
            reason=f"{count} trials in one pass make {gain:.1f}x as many steps a second as one.",
        )
    return Packing(
        trials=1,
        settings=solo,
        step_seconds=alone,
        gain=1.0,
        process_bytes=_upper(architecture, solo, device, calibration),
        reason=reason,
    )


def candidates(solo: TrainingSettings, ranks: Sequence[int]) -> Iterator[TrainingSettings]:
    """Packs of two and more, by every whole micro-batch of the effective batch."""
    batch, largest = solo.micro_batch_size * solo.gradient_accumulation_steps, sorted(ranks)
    for count in range(2, min(len(largest), MOST_TRIALS) + 1):
        for micro in (size for size in range(1, batch + 1) if batch % size == 0):
            for checkpointing in (False, True):
                yield replace(
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
    device: Device | None,
    calibration: Calibration,
) -> int:
    return estimate_memory(architecture, settings, device, calibration).process_bytes.upper
