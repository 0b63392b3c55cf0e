"""From request to Plan: enumerate, refuse, estimate, rank, explain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from memory_models.settings import Attention
from tsplanner.errors import NoPlanFits, TsplannerError
from tsplanner.planner.evaluate import Evaluated, evaluate, finish
from tsplanner.planner.plan import Plan, Verdict
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.candidates import candidates
from tsplanner.planner.space.checkpointed_layers import Look, fewest, some_layers
from tsplanner.planner.space.pareto import front, quality_risk
from tsplanner.planner.space.rules import Refusal, checkpoint_words, describe, refusal
from tsplanner.planner.suggestions import Remedy, remedies

SPEED_TIE = 0.02
"""Plans closer than this in predicted speed are ranked by fewer moving parts, then memory."""
LOOKED_AT = 3
"""Faster plans that look tight, and slower ones that look sure, whose steps are replayed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A family of plans that lost, by its best member."""

    setting: str
    evaluated: Evaluated
    relative_speed: float
    """Samples per second over the chosen plan's."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The plan, what lost to it, what was refused."""

    plan: Plan
    best: Evaluated
    """What the plan was made from."""
    alternatives: tuple[Alternative, ...]
    """Every other family by its best member, those that do not fit as well."""
    front: tuple[Alternative, ...]
    """Plans that may run and that none beats in memory, speed and risk; fastest first."""
    refusals: tuple[Refusal, ...]
    evaluated: tuple[Evaluated, ...]

    @property
    def considered(self) -> int:
        """How many candidates were estimated."""
        return len(self.evaluated)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Nothing fits: the smallest plan there is, and what would make one fit."""

    smallest: Evaluated
    remedies: tuple[Remedy, ...]
    refusals: tuple[Refusal, ...]


class NothingFits(NoPlanFits):
    """No configuration fits; ``failure`` has the numbers."""

    def __init__(self, message: str, failure: Failure) -> None:
        super().__init__(message)
        self.failure = failure


def choose(request: PlanRequest) -> Choice:
    """The fastest plan that fits, at the effective batch that was asked for.

    The unquantised base comes first; a quantised one is looked at only where that does not fit
    or the user asks for it.

    Raises:
        NothingFits: no candidate's expected memory fits.
        TsplannerError: the effective batch cannot be made, or no candidate can run at all.
    """
    evaluated, refusals = evaluate_all(request)
    if not evaluated:
        raise TsplannerError(_why_none(request, refusals))
    usable = [found for found in evaluated if found.verdict is not Verdict.DOES_NOT_FIT]
    if not usable:
        smallest = min(evaluated, key=lambda found: found.memory.process_bytes.expected)
        helpful = remedies(request, smallest)
        failure = Failure(smallest=smallest, remedies=helpful, refusals=refusals)
        raise NothingFits(_nothing_fits(smallest), failure)
    best = _settled(request, usable)
    if all(found.hardware != best.hardware for found in evaluated):
        evaluated.append(best)
    return explained(finish(request, best), best, evaluated, refusals)


def explained(
    plan: Plan, best: Evaluated, evaluated: Sequence[Evaluated], refusals: tuple[Refusal, ...]
) -> Choice:
    """The plan of the best candidate beside all that lost to it."""
    # What is known of the chosen candidate is narrower than its quick estimate.
    known = [best if each.hardware == best.hardware else each for each in evaluated]
    return Choice(
        plan=plan,
        best=best,
        alternatives=_alternatives(best, known),
        front=tuple(_front_row(found, best) for found in front(known)),
        refusals=refusals,
        evaluated=tuple(evaluated),
    )


def evaluate_all(request: PlanRequest) -> tuple[list[Evaluated], tuple[Refusal, ...]]:
    """Every candidate that no rule refuses, estimated; and one refusal a rule."""
    evaluated: list[Evaluated] = []
    refusals: dict[tuple[str, str], Refusal] = {}
    allowed: list[HardwareSettings] = []
    for hardware in _candidates(request):
        refused = refusal(request, hardware)
        if refused is None:
            allowed.append(hardware)
            continue
        refusals.setdefault((refused.rule, refused.reason), refused)
    problems: set[str] = set()
    for quantized in (False, True):
        wave = [found for found in allowed if (found.base.quantization is not None) is quantized]
        if quantized and any(found.verdict is Verdict.FITS for found in evaluated):
            break
        evaluated += _evaluate(request, wave, problems)
    evaluated += some_layers(request, evaluated, lambda hardware: evaluate(request, hardware))
    if not evaluated and problems:
        raise TsplannerError(f"No plan: {sorted(problems)[0]}.")
    hidden = ("useless-sharding", "useless-offload")
    return evaluated, tuple(found for found in refusals.values() if found.rule not in hidden)


def _candidates(request: PlanRequest) -> Iterator[HardwareSettings]:
    """The space, or one sentence if what is pinned excludes itself."""
    try:
        yield from candidates(request)
    except ValueError as error:
        raise TsplannerError(f"No plan: {error}.") from error


def _evaluate(
    request: PlanRequest, wave: Iterable[HardwareSettings], problems: set[str]
) -> list[Evaluated]:
    found = []
    for hardware in wave:
        try:
            found.append(evaluate(request, hardware))
        except ValueError as error:
            problems.add(str(error))
    return found


def _why_none(request: PlanRequest, refusals: tuple[Refusal, ...]) -> str:
    if refusals:
        return f"No plan: {refusals[0].reason}."
    pins = request.pins
    needs_gpu = ("world_size", "zero_stage", "offload_param")
    if request.on_cpu and any(pins.get(name) for name in needs_gpu):
        return "No plan: --world-size, --zero-stage and offload need a GPU, and the CPU is used."
    batch = request.learning.optimization.effective_batch_size
    return (
        f"No plan keeps the effective batch {batch} exactly with "
        "what is pinned; change --effective-batch, --micro-batch-size or --world-size."
    )


def _nothing_fits(smallest: Evaluated) -> str:
    return (
        f"Nothing fits: the smallest plan ({describe(smallest.hardware)}) needs "
        f"{smallest.memory.process_bytes.expected / 2**30:.1f} GiB, "
        f"{smallest.free_bytes / 2**30:.1f} GiB are free"
    )


def _settled(request: PlanRequest, usable: list[Evaluated]) -> Evaluated:
    """The best plan with its step replayed; quick bounds are wide, so others are replayed, too:
    faster ones that look tight, and slower ones that look sure where the best one is not. Then the
    fewest checkpoints that fit.
    """
    look = partial(evaluate, request, replay=True)
    best = best_of(usable)
    limit = (1 + SPEED_TIE) * best.samples_per_second
    by_speed = sorted(usable, key=lambda other: -other.samples_per_second)
    sure = [other for other in by_speed if other.verdict is Verdict.FITS and other is not best]
    tight = [other for other in by_speed if other.verdict is Verdict.TIGHT]
    faster = [other for other in tight if other.samples_per_second > limit][:LOOKED_AT]
    for other in (*faster, best, *sure[:LOOKED_AT]):
        found = look(other.hardware)
        if found.verdict is Verdict.FITS:
            return fewest(request, found, look)
    return _tight(best, look, by_speed)


def _tight(best: Evaluated, look: Look, by_speed: list[Evaluated]) -> Evaluated:
    """The best plan where none is sure; if its step takes more than is free, one with room."""
    settled = look(best.hardware)
    if settled.verdict is not Verdict.DOES_NOT_FIT:
        return settled
    size = best.memory.process_bytes.expected
    over = settled.memory.process_bytes.expected - settled.free_bytes
    smaller = [other for other in by_speed if other.memory.process_bytes.expected <= size - over]
    for other in smaller[:LOOKED_AT]:
        found = look(other.hardware)
        if found.verdict is not Verdict.DOES_NOT_FIT:
            return found
    return settled


def best_of(usable: list[Evaluated]) -> Evaluated:
    """Plans that fit before tight ones, then speed, then less risk and fewer moving parts."""
    sure = [found for found in usable if found.verdict is Verdict.FITS] or usable
    fastest = max(found.samples_per_second for found in sure)
    level = [found for found in sure if found.samples_per_second >= (1 - SPEED_TIE) * fastest]
    return min(level, key=moving_parts)


def moving_parts(found: Evaluated) -> tuple[int, int, int, int, int]:
    """What decides between plans as fast as each other: the least first.

    Larger micro-batches before smaller ones: fewer launches are what a slow host forgives.
    """
    hardware = found.hardware
    return (
        quality_risk(hardware),
        hardware.sharding.zero_stage
        + hardware.sharding.offload_param
        + hardware.sharding.offload_optimizer,
        hardware.sharding.world_size + (hardware.kernels.attention is not Attention.SDPA),
        hardware.batch.gradient_accumulation_steps,
        found.memory.process_bytes.expected,
    )


def _alternatives(best: Evaluated, evaluated: list[Evaluated]) -> tuple[Alternative, ...]:
    """The best member of every other family, fastest first; those that do not fit at the end."""
    families: dict[str, list[Evaluated]] = {}
    for found in evaluated:
        families.setdefault(describe(found.hardware), []).append(found)
    families.pop(describe(best.hardware), None)
    rows = [_alternative(name, members, best) for name, members in families.items()]
    order = [Verdict.FITS, Verdict.TIGHT, Verdict.DOES_NOT_FIT]
    rows.sort(key=lambda row: (order.index(row.evaluated.verdict), -row.relative_speed))
    return tuple(rows)


def _alternative(name: str, members: list[Evaluated], best: Evaluated) -> Alternative:
    usable = [found for found in members if found.verdict is not Verdict.DOES_NOT_FIT]
    if usable:
        found = best_of(usable)
    else:
        found = min(members, key=lambda member: member.memory.process_bytes.expected)
    speed = found.samples_per_second / best.samples_per_second
    return Alternative(
        setting=name, evaluated=found, relative_speed=speed, reason=_lost(found, best, speed)
    )


def _front_row(found: Evaluated, best: Evaluated) -> Alternative:
    """A plan of the front, by what sets it apart from the chosen one."""
    hardware, chosen = found.hardware, best.hardware
    words = [describe(hardware)]
    if describe(chosen) == words[0]:
        words = ["the same"]
    if hardware.batch.micro_batch_size != chosen.batch.micro_batch_size:
        words.append(f"micro-batch {hardware.batch.micro_batch_size}")
    checkpoints = checkpoint_words(hardware)
    if checkpoints != checkpoint_words(chosen):
        words.append(checkpoints)
    if hardware.kernels.loss_kernel != chosen.kernels.loss_kernel:
        words.append(f"{hardware.kernels.loss_kernel} loss")
    speed = found.samples_per_second / best.samples_per_second
    return Alternative(
        setting=", ".join(words),
        evaluated=found,
        relative_speed=speed,
        reason="chosen" if hardware == chosen else _lost(found, best, speed),
    )


def _lost(found: Evaluated, best: Evaluated, speed: float) -> str:
    if found.verdict is not Verdict.FITS and best.verdict is Verdict.FITS:
        return found.reason
    if speed < 1 - SPEED_TIE:
        return f"slower: {found.time.bottleneck}"
    if found.hardware.base.quantization and not best.hardware.base.quantization:
        return "quantised: only where the plain base does not fit"
    if quality_risk(found.hardware) > quality_risk(best.hardware):
        return "optimizer states rounded to 8 bits"
    if moving_parts(found)[:-1] == moving_parts(best)[:-1]:
        return "as fast, more memory"
    return "as fast, in more pieces"
