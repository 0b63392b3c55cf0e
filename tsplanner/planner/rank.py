"""From request to Plan: enumerate the candidates, refuse, estimate, rank, and give the reasons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from memory_models.settings import Attention
from tsplanner.errors import NoPlanFits, TsplannerError
from tsplanner.planner.evaluate import VERDICTS, Evaluated, evaluate, finish
from tsplanner.planner.plan import Alternative, Plan, Verdict
from tsplanner.planner.reasons import Explanation, NoPlan, Reason, Refusal
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.sentences import nothing_fits_sentence, refusal_sentence, sentence
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.candidates import candidates
from tsplanner.planner.space.checkpointed_layers import Estimate, fewest, some_layers
from tsplanner.planner.space.pareto import pareto_front, quality_risk, spread
from tsplanner.planner.space.rules import BITSANDBYTES_OPTIMIZERS, SHOWN, refusal
from tsplanner.planner.suggestions import FitSuggestion, fit_suggestions

SPEED_TIE = 0.02
"""Plans whose predicted speeds are closer than this are ranked by complexity, then by memory."""
MOST_REPLAYED = 3
"""Faster plans that look tight, and slower ones that look sure, whose steps are replayed."""
MOST_SHOWN = 5
"""Plans of the Pareto front that a person is shown beside the chosen one."""
MOST_ALTERNATIVES = 12
"""Alternatives that a plan carries."""
NEEDS_GPU = ("world_size", "zero_stage", "offload_param")
"""Settings that mean nothing on a CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedCandidate:
    """A candidate by its distance to the chosen plan."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The chosen plan, the candidates that lost to it, and what was refused."""

    plan: Plan
    best: Evaluated
    """The candidate that the plan was made from."""
    alternatives: tuple[RankedCandidate, ...]
    """The best member of every other family, fastest first; those that do not fit at the end."""
    front: tuple[RankedCandidate, ...]
    """Plans that may run and that no other plan beats in memory, speed and risk; fastest first."""
    shown: tuple[RankedCandidate, ...]
    """Members of the front that differ enough from the plan and from each other to be a choice."""
    refusals: tuple[Refusal, ...]
    evaluated: tuple[Evaluated, ...]

    @property
    def considered(self) -> int:
        """The number of candidates that were estimated."""
        return len(self.evaluated)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Nothing fits: the smallest plan there is, and changes that would make one fit."""

    smallest: Evaluated
    suggestions: tuple[FitSuggestion, ...]
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
        raise TsplannerError(_no_candidate(request, refusals))
    usable = [found for found in evaluated if found.verdict is not Verdict.DOES_NOT_FIT]
    if not usable:
        raise _nothing_fits(request, evaluated, refusals)
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
    front = tuple(_ranked(found, best) for found in pareto_front(known))
    families = _families(best, known)
    shown = _shown(front, best)
    return Choice(
        plan=replace(plan, alternatives=_carried(shown, families)),
        best=best,
        alternatives=families,
        front=front,
        shown=shown,
        refusals=refusals,
        evaluated=tuple(evaluated),
    )


def evaluate_all(request: PlanRequest) -> tuple[list[Evaluated], tuple[Refusal, ...]]:
    """Every candidate that no rule refuses, estimated; and one refusal per rule and finding."""
    evaluated: list[Evaluated] = []
    refusals: dict[tuple[object, ...], Refusal] = {}
    allowed: list[HardwareSettings] = []
    for hardware in _candidates(request):
        refused = refusal(request, hardware)
        if refused is None:
            allowed.append(hardware)
            continue
        refusals.setdefault((refused.rule, *refused.data.items()), refused)
    problems: set[str] = set()
    for quantized in (False, True):
        wave = [found for found in allowed if (found.base.quantization is not None) is quantized]
        if quantized and any(found.verdict is Verdict.FITS for found in evaluated):
            break
        evaluated += _evaluate(request, wave, problems)
    evaluated += some_layers(request, evaluated, lambda hardware: evaluate(request, hardware))
    if not evaluated and problems:
        raise TsplannerError(sentence(NoPlan.CANNOT_RUN, {"why": sorted(problems)[0]}))
    return evaluated, tuple(found for found in refusals.values() if found.rule in SHOWN)


def _candidates(request: PlanRequest) -> Iterator[HardwareSettings]:
    """The space, or one sentence if the pinned settings exclude each other."""
    try:
        yield from candidates(request)
    except ValueError as error:
        raise TsplannerError(sentence(NoPlan.CANNOT_RUN, {"why": str(error)})) from error


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


def _no_candidate(request: PlanRequest, refusals: tuple[Refusal, ...]) -> str:
    if refusals:
        return sentence(NoPlan.REFUSED, {"why": refusal_sentence(refusals[0])})
    if request.on_cpu and any(request.pins.get(name) for name in NEEDS_GPU):
        return sentence(NoPlan.NEEDS_GPU)
    batch = request.learning.optimization.effective_batch_size
    return sentence(NoPlan.EFFECTIVE_BATCH, {"batch": batch})


def _nothing_fits(
    request: PlanRequest, evaluated: list[Evaluated], refusals: tuple[Refusal, ...]
) -> NothingFits:
    smallest = min(evaluated, key=lambda found: found.memory.process_bytes.expected)
    failure = Failure(
        smallest=smallest, suggestions=fit_suggestions(request, smallest), refusals=refusals
    )
    needs = smallest.memory.process_bytes.expected
    return NothingFits(
        nothing_fits_sentence(smallest.hardware, needs, smallest.free_bytes), failure
    )


def _settled(request: PlanRequest, usable: list[Evaluated]) -> Evaluated:
    """The best plan, its step replayed, with the fewest checkpoints that fit.

    Quick bounds are wide, so other plans are replayed, too: faster ones that look tight, and slower
    ones that look sure where the best one turns out not to be.
    """
    replayed = partial(evaluate, request, replay=True)
    best = best_of(usable)
    limit = (1 + SPEED_TIE) * best.samples_per_second
    by_speed = sorted(usable, key=lambda other: -other.samples_per_second)
    sure = [other for other in by_speed if other.verdict is Verdict.FITS and other is not best]
    tight = [other for other in by_speed if other.verdict is Verdict.TIGHT]
    faster = [other for other in tight if other.samples_per_second > limit][:MOST_REPLAYED]
    for other in (*faster, best, *sure[:MOST_REPLAYED]):
        found = replayed(other.hardware)
        if found.verdict is Verdict.FITS:
            return fewest(request, found, replayed)
    return _tight(best, replayed, by_speed)


def _tight(best: Evaluated, replayed: Estimate, by_speed: list[Evaluated]) -> Evaluated:
    """The best plan where none is sure; if its step takes more than is free, a smaller one."""
    settled = replayed(best.hardware)
    if settled.verdict is not Verdict.DOES_NOT_FIT:
        return settled
    size = best.memory.process_bytes.expected
    over = settled.memory.process_bytes.expected - settled.free_bytes
    smaller = [other for other in by_speed if other.memory.process_bytes.expected <= size - over]
    for other in smaller[:MOST_REPLAYED]:
        found = replayed(other.hardware)
        if found.verdict is not Verdict.DOES_NOT_FIT:
            return found
    return settled


def best_of(usable: list[Evaluated]) -> Evaluated:
    """Plans that fit before tight ones, then by speed, then by risk and complexity."""
    sure = [found for found in usable if found.verdict is Verdict.FITS] or usable
    fastest = max(found.samples_per_second for found in sure)
    level = [found for found in sure if found.samples_per_second >= (1 - SPEED_TIE) * fastest]
    return min(level, key=complexity_key)


def complexity_key(found: Evaluated) -> tuple[int, int, int, int, int]:
    """The order of plans that are as fast as each other: the least risk and complexity first.

    Larger micro-batches come before smaller ones: a slow host forgives fewer launches.
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


def family_key(hardware: HardwareSettings) -> tuple[object, ...]:
    """What plans of one family share: storage, sharding, offload and the kind of optimizer."""
    sharding, optimizer = hardware.sharding, hardware.kernels.optimizer
    on_cpu = hardware.accelerator == "cpu"
    sharded = sharding.zero_stage > 0
    return (
        hardware.base.quantization or hardware.base.model_dtype,
        on_cpu,
        None if on_cpu else (sharding.zero_stage, sharding.world_size),
        sharded and not on_cpu and (sharding.offload_param, sharding.offload_optimizer),
        optimizer if optimizer in BITSANDBYTES_OPTIMIZERS else None,
    )


def _families(best: Evaluated, evaluated: list[Evaluated]) -> tuple[RankedCandidate, ...]:
    """The best member of every other family, fastest first; those that do not fit at the end."""
    families: dict[tuple[object, ...], list[Evaluated]] = {}
    for found in evaluated:
        families.setdefault(family_key(found.hardware), []).append(found)
    families.pop(family_key(best.hardware), None)
    rows = [_ranked(_best_member(members), best) for members in families.values()]
    rows.sort(key=lambda row: (VERDICTS.index(row.evaluated.verdict), -row.relative_speed))
    return tuple(rows)


def _best_member(members: list[Evaluated]) -> Evaluated:
    usable = [found for found in members if found.verdict is not Verdict.DOES_NOT_FIT]
    if usable:
        return best_of(usable)
    return min(members, key=lambda member: member.memory.process_bytes.expected)


def _ranked(found: Evaluated, best: Evaluated) -> RankedCandidate:
    speed = found.samples_per_second / best.samples_per_second
    chosen = found.hardware == best.hardware
    return RankedCandidate(
        evaluated=found,
        relative_speed=speed,
        explanation=Explanation(reason=Reason.CHOSEN) if chosen else _lost(found, best, speed),
    )


def _lost(found: Evaluated, best: Evaluated, speed: float) -> Explanation:
    """Why a candidate is not the first: the weightiest of the differences alone."""
    if found.verdict is not Verdict.FITS and best.verdict is Verdict.FITS and found.explanation:
        return found.explanation
    if speed < 1 - SPEED_TIE:
        return Explanation(reason=Reason.SLOWER, data={"bottleneck": found.time.bottleneck})
    return Explanation(reason=_lost_at_same_speed(found, best))


def _lost_at_same_speed(found: Evaluated, best: Evaluated) -> Reason:
    if found.hardware.base.quantization and not best.hardware.base.quantization:
        return Reason.QUANTIZED
    if quality_risk(found.hardware) > quality_risk(best.hardware):
        return Reason.ROUNDED_STATES
    same = complexity_key(found)[:-1] == complexity_key(best)[:-1]
    return Reason.MORE_MEMORY if same else Reason.MORE_COMPLEX


def _shown(front: tuple[RankedCandidate, ...], best: Evaluated) -> tuple[RankedCandidate, ...]:
    """Rows of the front that are far enough from the plan and from each other to be a choice."""
    rows = {row.evaluated.hardware: row for row in front}
    others = [row.evaluated for row in front if row.evaluated.hardware != best.hardware]
    return tuple(rows[found.hardware] for found in spread(others, best, MOST_SHOWN))


def _carried(
    shown: tuple[RankedCandidate, ...], families: tuple[RankedCandidate, ...]
) -> tuple[Alternative, ...]:
    """What the plan carries of its alternatives: those that are shown, then other families."""
    rows = {row.evaluated.hardware: row.alternative for row in families}
    first = {row.evaluated.hardware: row.alternative for row in shown}
    return tuple((first | rows).values())[:MOST_ALTERNATIVES]
