"""From request to Plan: enumerate the candidates, refuse, estimate, rank, and give the reasons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

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
from tsplanner.planner.evaluate import (
    Evaluated,
    Shortage,
    evaluate,
    finish,
    lacks_host_memory,
    shortage,
)
from tsplanner.planner.explain.reasons import MemoryKind, NoPlan, Refusal, Remark
from tsplanner.planner.explain.remarks import failure_remarks, plan_remarks
from tsplanner.planner.explain.sentences import (
    nothing_fits_sentence,
    pin_words,
    refusal_sentence,
    sentence,
)
from tsplanner.planner.plan import Plan, Verdict
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.candidates import candidates, conflict
from tsplanner.planner.space.checkpointed_layers import Estimate, fewest, some_layers
from tsplanner.planner.space.eight_bit_alternatives import eight_bit_alternatives
from tsplanner.planner.space.pareto import pareto_front, quality_risk
from tsplanner.planner.space.rules import SHOWN, asked_for, deciding, refusal, without_rows
from tsplanner.planner.space.streamed_layers import fewest_streamed, with_fewest
from tsplanner.planner.suggestions import FitSuggestion, fit_suggestions

WORTH_STREAMING = 0.05
"""Plans that fit whole are slow for want of room if more room makes others faster by this share."""
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


def evaluate_all(request: PlanRequest) -> tuple[list[Evaluated], tuple[Refusal, ...]]:
    """Every candidate that no rule refuses, estimated; and one refusal per rule and finding."""
    evaluated: list[Evaluated] = []
    refusals: dict[tuple[object, ...], Refusal] = {}
    allowed: list[HardwareSettings] = []
    known: dict[object, Refusal | None] = {}
    for hardware in _candidates(request):
        kind = without_rows(hardware)
        if kind not in known:
            known[kind] = refusal(request, hardware)
        refused = known[kind]
        if refused is None:
            allowed.append(hardware)
            continue
        refusals.setdefault((refused.rule, *refused.data.items()), refused)
    problems: set[str] = set()
    least = min(map(quality_risk, allowed), default=0)
    for last_resort in (None, _streams, _is_quantized, _stays_in_files):
        if last_resort is _stays_in_files and any(map(_may_run, evaluated)):
            break
        wave = [found for found in allowed if _resort(found) is last_resort]
        # What rounds more than is needed is no reason to leave out what does not.
        exact = [found for found in evaluated if quality_risk(found.hardware) == least]
        easy = [found for found in exact if _is_easy(found)]
        helps = last_resort is _streams and bool(easy) and _held_back(easy, exact)
        if last_resort is not None and easy and not helps:
            break
        estimate = partial(evaluate, request)
        evaluated += with_fewest(request, _evaluate(request, wave, problems), estimate)
    evaluated += _with_some_layers(request, evaluated)
    if not evaluated and problems:
        raise TsplannerError(sentence(NoPlan.CANNOT_RUN, {"why": sorted(problems)[0]}))
    if not allowed:
        return [], deciding(request, _candidates(request))
    return evaluated, tuple(found for found in refusals.values() if found.rule in SHOWN)


def _streams(hardware: HardwareSettings) -> bool:
    return hardware.streaming.streams


def _stays_in_files(hardware: HardwareSettings) -> bool:
    return hardware.streaming.stream_from_files


def _may_run(found: Evaluated) -> bool:
    return found.verdict is not Verdict.DOES_NOT_FIT


def _is_quantized(hardware: HardwareSettings) -> bool:
    return hardware.base.needs_bitsandbytes


def _resort(hardware: HardwareSettings) -> Callable[[HardwareSettings], bool] | None:
    """What is tried of a candidate only where no easier one fits; None: nothing."""
    tests = (_stays_in_files, _is_quantized, _streams)
    return next((test for test in tests if test(hardware)), None)


def _is_whole(hardware: HardwareSettings) -> bool:
    """Whether every GPU has the whole base, and nothing is offloaded."""
    sharding = hardware.sharding
    return (
        not hardware.streaming.streams
        and sharding.zero_stage < 3
        and not sharding.shards_base
        and not sharding.offload_optimizer
    )


def _is_easy(found: Evaluated) -> bool:
    """Whether a plan fits with its base whole on every GPU: then no other kind is needed."""
    return _is_whole(found.hardware) and found.verdict is Verdict.FITS


def _held_back(easy: Sequence[Evaluated], all_exact: Sequence[Evaluated]) -> bool:
    """Whether plans that fit are slow for want of memory: layers that leave would make room.

    Streamed layers keep their inputs alone, so they are no faster than checkpoints with the base
    whole and all the memory that these ask for.
    """
    best = max(found.samples_per_second for found in easy)
    roomy = [
        found.samples_per_second
        for found in all_exact
        if found.hardware.batch.gradient_checkpointing and _is_whole(found.hardware)
    ]
    return best < (1 - WORTH_STREAMING) * max(roomy, default=0.0)


def _with_some_layers(request: PlanRequest, evaluated: Sequence[Evaluated]) -> list[Evaluated]:
    """Candidates with some layers checkpointed: the best of those that round as much as each other.

    A fast plan that rounds is no reason to leave out a slower one that does not.
    """
    found: list[Evaluated] = []
    for risk in sorted({quality_risk(each.hardware) for each in evaluated}):
        alike = [each for each in evaluated if quality_risk(each.hardware) == risk]
        found += some_layers(request, alike, lambda hardware: evaluate(request, hardware))
    return found


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
