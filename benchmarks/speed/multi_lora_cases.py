"""What benchmarks/speed/multi_lora.py times: cases with their targets, settings, and makespans' sums."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from memory_models.settings import (
    DecoderKernels,
    LossKernel,
    Quantization,
    TrainingSettings,
    changed,
    from_flat,
)

RANKS = (8, 16, 24, 32, 40, 48, 56, 64)
EARLY = "packed with early stops over usual"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One case, and what packing is to reach there."""

    name: str
    model: str = "qwen3-8b"
    length: int = 512
    batch: int = 2
    quantization: Quantization | None = None
    ranks: tuple[int, ...] = RANKS
    over_usual: float | None = None
    early_over_usual: float | None = None
    over_solo: float | None = None
    pays: bool = True
    """Whether the planner should find that packing pays."""
    solo_over_usual: float | None = None


H200 = (
    Bar(name="512 tokens, batch 2", over_usual=6.0, early_over_usual=10.0, over_solo=2.0),
    Bar(name="2048 tokens, batch 2", length=2048, over_usual=2.5, early_over_usual=4.0),
    Bar(name="512 tokens, batch 2, NF4", quantization=Quantization.NF4, over_usual=2.0),
    Bar(name="512 tokens, batch 16", batch=16, pays=False, solo_over_usual=8.0),
)
DRY = (Bar(name="tiny", model="tiny-chatts", length=64, ranks=(2, 4, 8), over_usual=1.0),)


def solo_settings(bar: Bar, *, half: bool) -> TrainingSettings:
    """One trial by good settings; the probe of the largest rank stands for all."""
    recipe: dict[str, Any] = {} if half else {"autocast": None, "model_dtype": "fp32"}
    return from_flat(
        TrainingSettings,
        lora_rank=max(bar.ranks),
        sequence_length=bar.length,
        series_patches=bar.length // 4 if bar.model.endswith("chatts") else 0,
        micro_batch_size=bar.batch,
        quantization=bar.quantization,
        gradient_checkpointing=False,
        loss_kernel=LossKernel.FUSED,
        decoder_kernels=DecoderKernels.FUSED,
        expandable_segments=half,
        **recipe,
    )


def usual_settings(solo: TrainingSettings) -> TrainingSettings:
    """The same trial as most people run it."""
    return changed(
        solo,
        micro_batch_size=1,
        gradient_accumulation_steps=solo.batch.micro_batch_size
        * solo.batch.gradient_accumulation_steps,
        gradient_checkpointing=True,
        loss_kernel=LossKernel.PLAIN,
        kernels=DecoderKernels.REFERENCE,
    )


def stop_step(trials: int) -> int:
    """The step after which fewer than so many trials of eight go on."""
    later = {1: 17, 2: 14, 3: 11, 4: 11, 5: 8, 6: 8}
    return later.get(trials, 5)


def seconds_by_count(passes: list[float], steps: list[int], accumulation: int) -> dict[int, float]:
    """Seconds of an optimizer step of all trials at work, by their number; two passes warm up."""
    found: dict[int, list[float]] = {}
    for place, seconds in list(enumerate(passes))[2:]:
        count = sum(place < own * accumulation for own in steps)
        found.setdefault(count, []).append(seconds * accumulation)
    return {count: statistics.median(own) for count, own in found.items()}


def between(by_count: dict[int, float], count: float) -> float:
    """Seconds with so many trials at work, on a line between the numbers that were measured."""
    known = sorted(by_count)
    low = max((one for one in known if one <= count), default=known[0])
    high = min((one for one in known if one >= count), default=known[-1])
    share = (count - low) / (high - low) if high > low else 0.0
    return by_count[low] + share * (by_count[high] - by_count[low])


def ratio(slow: float | None, fast: float | None) -> float | None:
    """How many times as fast; None where one of them did not run."""
    return None if slow is None or fast is None else slow / fast


def bars(bar: Bar, ratios: dict[str, float | None], *, pays: bool) -> dict[str, bool]:
    """Which targets of the case are met."""
    wanted = {
        "packed over usual": bar.over_usual,
        "packed over solo": bar.over_solo,
        "solo over usual": bar.solo_over_usual,
        EARLY: bar.early_over_usual,
    }
    met = {
        f"{name} >= {least:g}": (ratios[name] or 0.0) >= least
        for name, least in wanted.items()
        if least is not None
    }
    return {
        **met,
        f"planner says packing {'pays' if bar.pays else 'does not pay'}": pays is bar.pays,
    }
