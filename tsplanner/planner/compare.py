"""How candidates are compared: which one is best, and why each of the others is not. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from memory_models.frozen import frozen
from memory_models.settings import Attention
from tsplanner.planner.evaluate import VERDICTS, Evaluated
from tsplanner.planner.explain.reasons import Explanation, Reason
from tsplanner.planner.plan import Alternative, Verdict
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.pareto import quality_risk, spread
from tsplanner.planner.space.rules import BITSANDBYTES_OPTIMIZERS

SPEED_TIE = 0.02
"""Plans whose predicted speeds are closer than this are ranked by complexity, then by memory."""
MOST_SHOWN = 5
"""Plans of the Pareto front that a person is shown beside the chosen one."""
MOST_ALTERNATIVES = 12
"""Alternatives that a plan carries."""


@frozen
class RankedCandidate:
    """A candidate beside the chosen plan: its relative speed, and why it was not chosen."""

    evaluated: Evaluated
    relative_speed: float
    """Samples per second over those of the chosen plan."""
    explanation: Explanation

    @property
    def alternative(self) -> Alternative:
        """The candidate as the plan carries it."""
        return Alternative(
            hardware=self.evaluated.hardware,
            verdict=self.evaluated.verdict,
            process_bytes=self.evaluated.memory.process_bytes,
            relative_speed=self.relative_speed,
            explanation=self.explanation,
        )


def best_of(usable: Sequence[Evaluated], *, allow_rounding: bool = False) -> Evaluated:
    """The best plan: one that fits before a tight one, then the fastest, then the least complex.

    Of plans that fit, those that round least come first, unless rounding is allowed.
    """
    sure = [found for found in usable if found.verdict is Verdict.FITS] or usable
    sure = least_rounded(sure, allow_rounding=allow_rounding)
    fastest = max(found.samples_per_second for found in sure)
    level = [found for found in sure if found.samples_per_second >= (1 - SPEED_TIE) * fastest]
    return min(level, key=complexity_key)


def least_rounded(
    usable: Sequence[Evaluated], *, allow_rounding: bool = False
) -> Sequence[Evaluated]:
    """The plans that may be chosen: those that round least, or all where rounding is allowed.

    What rounds the base or the optimizer's states changes what is learned, so speed alone is no
    reason for it. What the user pinned is the same in every plan.
    """
    if allow_rounding or not usable:
        return usable
    least = min(quality_risk(found.hardware) for found in usable)
    return [found for found in usable if quality_risk(found.hardware) == least]


def outranks(found: Evaluated, other: Evaluated, *, allow_rounding: bool = False) -> bool:
    """Whether a plan would be chosen before another one if both fitted."""
    risk, most = quality_risk(found.hardware), quality_risk(other.hardware)
    if risk != most and not allow_rounding:
        return risk < most
    return found.samples_per_second > (1 + SPEED_TIE) * other.samples_per_second


BATCH_PLACES = (4, 5)
"""Places of `complexity_key` that say in how many pieces the rows of a step go through."""


def complexity_key(found: Evaluated) -> tuple[int, ...]:
    """The order of plans that are as fast as each other: the least risk and complexity first.

    Padded rows come before packed ones. Larger micro-batches and token budgets come before smaller
    ones: a slow host forgives fewer launches.
    """
    hardware = found.hardware
    return (
        # Weights and states are not rounded for a speed that nobody would notice.
        quality_risk(hardware),
        hardware.sharding.zero_stage
        + hardware.sharding.fsdp
        + hardware.sharding.offload_param
        + hardware.sharding.offload_optimizer
        + hardware.streaming.streams
        + hardware.streaming.sends_inputs
        + (hardware.sharding.nodes > 1),
        hardware.sharding.world_size + (hardware.kernels.attention is not Attention.SDPA),
        hardware.batch.is_packed,
        hardware.batch.gradient_accumulation_steps,
        -(hardware.batch.token_budget or 0),
        sum(hardware.streaming.numbers_of(hardware.sharding.processes_per_node)),
        found.memory.process_bytes.expected,
    )


def family_key(hardware: HardwareSettings) -> tuple[object, ...]:
    """What plans of one family share: storage, sharding, offload and the kind of optimizer."""
    sharding, optimizer = hardware.sharding, hardware.kernels.optimizer
    on_cpu = hardware.accelerator == "cpu"
    sharded = sharding.zero_stage > 0
    return (
        hardware.base.quantization or hardware.base.model_dtype,
        on_cpu,
        None
        if on_cpu
        else (
            sharding.zero_stage,
            sharding.fsdp,
            sharding.fsdp_per_host,
            sharding.world_size,
            sharding.nodes,
        ),
        sharded and not on_cpu and (sharding.offload_param, sharding.offload_optimizer),
        hardware.streaming.streams and hardware.streaming.stream_from_files,
        hardware.streaming.streams,
        optimizer if optimizer in BITSANDBYTES_OPTIMIZERS else None,
    )


def best_by_family(best: Evaluated, evaluated: Sequence[Evaluated]) -> tuple[RankedCandidate, ...]:
    """The best member of every other family, fastest first; those that do not fit at the end."""
    families: dict[tuple[object, ...], list[Evaluated]] = {}
    for found in evaluated:
        families.setdefault(family_key(found.hardware), []).append(found)
    families.pop(family_key(best.hardware), None)
    rows = [ranked(_best_member(members), best) for members in families.values()]
    rows.sort(key=lambda row: (VERDICTS.index(row.evaluated.verdict), -row.relative_speed))
    return tuple(rows)


def _best_member(members: list[Evaluated]) -> Evaluated:
    usable = [found for found in members if found.verdict is not Verdict.DOES_NOT_FIT]
    if usable:
        return best_of(usable)
    return min(members, key=lambda member: member.memory.process_bytes.expected)


def ranked(found: Evaluated, best: Evaluated) -> RankedCandidate:
    """A candidate by its speed over that of the best one, and the reason why it is not the best."""
    speed = found.samples_per_second / best.samples_per_second
    chosen = found.hardware == best.hardware
    return RankedCandidate(
        evaluated=found,
        relative_speed=speed,
        explanation=Explanation(reason=Reason.CHOSEN) if chosen else _lost(found, best, speed),
    )


def _lost(found: Evaluated, best: Evaluated, speed: float) -> Explanation:
    """Why a candidate is not the first: the weightiest of the differences alone."""
    lost_by_memory = best.verdict is Verdict.FITS or speed > 1 + SPEED_TIE
    if found.verdict is not Verdict.FITS and lost_by_memory and found.explanation:
        return found.explanation
    # A plan that a tie would have gone to was settled against by the speed, however little.
    lost_by_speed = speed < 1 and complexity_key(found) < complexity_key(best)
    if speed < 1 - SPEED_TIE or lost_by_speed:
        return Explanation(reason=Reason.SLOWER, data={"bottleneck": found.time.bottleneck})
    return Explanation(reason=_lost_at_same_speed(found, best))


def rounded_reason(hardware: HardwareSettings) -> Reason:
    """What settings round that others keep whole."""
    if hardware.base.multiplies_8bit:
        return Reason.ROUNDED_PRODUCTS
    return Reason.QUANTIZED if hardware.base.quantization else Reason.ROUNDED_STATES


def rounds_otherwise(hardware: HardwareSettings, chosen: HardwareSettings) -> bool:
    """Whether settings round what the chosen ones do not, even if less in all."""
    eight = hardware.base.multiplies_8bit and not chosen.base.multiplies_8bit
    return eight or quality_risk(hardware) > quality_risk(chosen)


def _lost_at_same_speed(found: Evaluated, best: Evaluated) -> Reason:
    if rounds_otherwise(found.hardware, best.hardware):
        return rounded_reason(found.hardware)
    ours, theirs = complexity_key(found), complexity_key(best)
    if ours[:-1] == theirs[:-1]:
        return Reason.MORE_MEMORY
    first = next(
        place for place, (one, two) in enumerate(zip(ours, theirs, strict=True)) if one != two
    )
    return Reason.SMALLER_BATCHES if first in BATCH_PLACES else Reason.MORE_COMPLEX


def worth_showing(
    front: Sequence[RankedCandidate], best: Evaluated, named: Sequence[RankedCandidate] = ()
) -> tuple[RankedCandidate, ...]:
    """Plans that a note has named, and rows of the front that differ enough to be a choice.

    They differ from the plan, from what is named and from each other; the fastest come first.
    """
    rows = {row.evaluated.hardware: row for row in (*front, *named)}
    kept = [best, *(row.evaluated for row in named)]
    taken = {found.hardware for found in kept}
    others = [row.evaluated for row in front if row.evaluated.hardware not in taken]
    found = [*kept[1:], *spread(others, kept, MOST_SHOWN - len(named))]
    found.sort(key=lambda each: -each.samples_per_second)
    return tuple(rows[each.hardware] for each in found)


def carried(
    shown: Sequence[RankedCandidate], families: Sequence[RankedCandidate]
) -> tuple[Alternative, ...]:
    """The alternatives that the plan carries: those that are shown, then other families."""
    rows = {row.evaluated.hardware: row.alternative for row in families}
    first = {row.evaluated.hardware: row.alternative for row in shown}
    return tuple((first | rows).values())[:MOST_ALTERNATIVES]
