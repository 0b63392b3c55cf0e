"""From request to Plan: enumerate the candidates, refuse, estimate, rank, and give the reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from memory_models.frozen import frozen
from tsplanner.errors import NoPlanFits, TsplannerError
from tsplanner.planner.compare import (
    RankedCandidate,
    best_by_family,
    best_of,
    carried,
    outranks,
    ranked,
    worth_showing,
)
from tsplanner.planner.evaluate import Evaluated, Shortage, evaluate, lacks_host_memory, shortage
from tsplanner.planner.explain.reasons import MemoryKind, NoPlan, Refusal, Remark
from tsplanner.planner.explain.remarks import failure_remarks, plan_remarks
from tsplanner.planner.explain.sentences import (
    nothing_fits_sentence,
    pin_words,
    refusal_sentence,
    sentence,
)
from tsplanner.planner.explain.suggestions import FitSuggestion, fit_suggestions
from tsplanner.planner.finished import finish
from tsplanner.planner.plan import Plan, Verdict
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.candidates import conflict
from tsplanner.planner.space.checkpointed_layers import Estimate, fewest
from tsplanner.planner.space.eight_bit_alternatives import eight_bit_alternatives
from tsplanner.planner.space.pareto import pareto_front, quality_risk
from tsplanner.planner.space.rules import asked_for
from tsplanner.planner.space.streamed_layers import fewest_streamed
from tsplanner.planner.space.waves import evaluate_all

MOST_REPLAYED = 3
"""Faster plans that look tight, and slower ones that look sure, whose steps are replayed."""
BATCH_SETTINGS = frozenset({"world_size", "micro_batch_size"})
"""Settings that the effective batch is divided by."""
NEEDS_GPU = ("world_size", "zero_stage", "offload_param")
"""Settings that mean nothing on a CPU."""


@frozen
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
    remarks: tuple[Remark, ...]
    """What a person should know before starting the plan, the weightiest first."""
    evaluated: tuple[Evaluated, ...]

    @property
    def considered(self) -> int:
        """The number of candidates that were estimated."""
        return len(self.evaluated)


@frozen
class Failure:
    """Nothing fits: the smallest plan there is, and changes that would make one fit."""

    smallest: Evaluated
    shortage: Shortage
    """What the smallest plan lacks."""
    suggestions: tuple[FitSuggestion, ...]
    refusals: tuple[Refusal, ...]
    remarks: tuple[Remark, ...] = ()


class NothingFits(NoPlanFits):
    """No configuration fits; ``failure`` has the numbers."""

    def __init__(self, message: str, failure: Failure) -> None:
        super().__init__(message)
        self.failure = failure


def choose(request: PlanRequest) -> Choice:
    """The fastest plan that fits, at the effective batch that was asked for.

    What rounds the base or the optimizer's states is chosen only where nothing else fits, or
    where the user asks for it or allows it. A quantised base is compared wherever an unquantised
    one would have to be shared among GPUs or offloaded.

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
    replays: dict[HardwareSettings, Evaluated] = {}
    best = _settled(request, usable, replays)
    # A row that a replay has corrected says what the replay found, and why it lost by that.
    evaluated = [replays.get(found.hardware, found) for found in evaluated]
    # Replays may settle on a number of checkpointed layers that was not among the candidates.
    if all(found.hardware != best.hardware for found in evaluated):
        evaluated.append(best)
    evaluated += eight_bit_alternatives(request, best, evaluated)
    return explained(request, finish(request, best), best, evaluated, refusals)


def explained(
    request: PlanRequest,
    plan: Plan,
    best: Evaluated,
    evaluated: Sequence[Evaluated],
    refusals: tuple[Refusal, ...],
) -> Choice:
    """The plan of the best candidate beside all that lost to it."""
    # What is known of the chosen candidate is narrower than its quick estimate.
    known = [best if each.hardware == best.hardware else each for each in evaluated]
    front = tuple(ranked(found, best) for found in pareto_front(known))
    families = best_by_family(best, known)
    remarks = plan_remarks(request, best, known, refusals)
    shown = worth_showing(front, best, [ranked(found, best) for found in _named(remarks, known)])
    return Choice(
        plan=replace(plan, alternatives=carried(shown, families)),
        best=best,
        alternatives=families,
        front=front,
        shown=shown,
        refusals=refusals,
        remarks=remarks,
        evaluated=tuple(evaluated),
    )


def _named(remarks: Sequence[Remark], evaluated: Sequence[Evaluated]) -> list[Evaluated]:
    """The plans that may run of which the remarks speak: a reader looks for them in the list."""
    named = {remark.hardware for remark in remarks}
    usable = [found for found in evaluated if found.verdict is not Verdict.DOES_NOT_FIT]
    return [found for found in usable if found.hardware in named]


def _no_candidate(request: PlanRequest, refusals: tuple[Refusal, ...]) -> str:
    if refusals:
        named = asked_for(request, refusals) or refusals
        why = "; ".join(refusal_sentence(each) for each in named)
        return sentence(NoPlan.REFUSED, {"why": why})
    if request.on_cpu and any(request.pins.get(name) for name in NEEDS_GPU):
        return sentence(NoPlan.NEEDS_GPU)
    names = conflict(request)
    if not BATCH_SETTINGS.issuperset(names):
        kind = NoPlan.PINS_EXCLUDE_EACH_OTHER if names[1:] else NoPlan.PIN_LEFT_ALONE
        return sentence(kind, {"pins": pin_words(request.pins, names)})
    batch = request.learning.optimization.effective_batch_size
    return sentence(NoPlan.EFFECTIVE_BATCH, {"batch": batch})


def _nothing_fits(
    request: PlanRequest, evaluated: list[Evaluated], refusals: tuple[Refusal, ...]
) -> NothingFits:
    # Where the GPUs alone would hold some plan, the host is what a person has to hear of.
    by_host = [found for found in evaluated if not request.on_cpu and lacks_host_memory(found)]
    # Bytes of a GPU and of the host do not compare; how far each is exceeded does.
    smallest = min(
        by_host or evaluated,
        key=lambda found: (shortage(request, found).share, found.memory.process_bytes.expected),
    )
    lack = shortage(request, smallest)
    failure = Failure(
        smallest=smallest,
        shortage=lack,
        suggestions=fit_suggestions(request, smallest),
        refusals=refusals,
        remarks=failure_remarks(request, lack, smallest),
    )
    of_host = lack.memory is MemoryKind.HOST and not request.on_cpu
    words = nothing_fits_sentence(
        smallest.hardware, lack.needs.expected, lack.free_bytes, of_host=of_host
    )
    return NothingFits(words, failure)


def _settled(
    request: PlanRequest, usable: list[Evaluated], replays: dict[HardwareSettings, Evaluated]
) -> Evaluated:
    """The best plan, its step replayed, with the fewest checkpoints that fit.

    Quick bounds are wide, so other plans are replayed, too: better ones that look tight, and worse
    ones that look sure where the best one turns out not to be. ``replays`` collects what was found.
    """

    def replayed(hardware: HardwareSettings) -> Evaluated:
        if hardware not in replays:
            replays[hardware] = evaluate(request, hardware, replay=True)
        return replays[hardware]

    allowed = request.allow_rounding
    best = best_of(usable, allow_rounding=allowed)
    ordered = sorted(
        usable,
        key=lambda other: (
            0 if allowed else quality_risk(other.hardware),
            -other.samples_per_second,
        ),
    )
    sure = [other for other in ordered if other.verdict is Verdict.FITS and other is not best]
    # No replay knows streamed layers, so that theirs would say nothing new.
    tight = [
        other
        for other in ordered
        if other.verdict is Verdict.TIGHT and not other.hardware.streaming.streams
    ]
    better = [other for other in tight if outranks(other, best, allow_rounding=allowed)]
    # The fastest may all be too large; the smallest one still spares a rounding that is not needed.
    smallest = sorted(better, key=lambda other: other.memory.process_bytes.upper)[:1]
    for other in (*better[:MOST_REPLAYED], *smallest, best, *sure[:MOST_REPLAYED]):
        found = replayed(other.hardware)
        if found.verdict is Verdict.FITS:
            return fewest_streamed(request, fewest(request, found, replayed), replayed)
    return _tight(best, replayed, ordered)


def _tight(best: Evaluated, replayed: Estimate, ordered: list[Evaluated]) -> Evaluated:
    """The best plan where none is sure; if its step takes more than is free, a smaller one."""
    settled = replayed(best.hardware)
    if settled.verdict is not Verdict.DOES_NOT_FIT:
        return settled
    size = best.memory.process_bytes.expected
    over = settled.memory.process_bytes.expected - settled.free_bytes
    # The quick estimate fell short by about ``over``, so only plans that are smaller by as much by
    # the same quick estimate are worth a replay.
    smaller = [other for other in ordered if other.memory.process_bytes.expected <= size - over]
    for other in smaller[:MOST_REPLAYED]:
        found = replayed(other.hardware)
        if found.verdict is not Verdict.DOES_NOT_FIT:
            return found
    return settled
