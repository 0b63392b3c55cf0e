"""All candidates, estimated in waves: what is a last resort only where nothing easier fits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from tsplanner.errors import TsplannerError
from tsplanner.planner.evaluate import Evaluated, evaluate
from tsplanner.planner.explain.reasons import NoPlan, Refusal
from tsplanner.planner.explain.sentences import (
    sentence,
)
from tsplanner.planner.plan import Verdict
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.candidates import candidates
from tsplanner.planner.space.checkpointed_layers import some_layers
from tsplanner.planner.space.pareto import quality_risk
from tsplanner.planner.space.rules import SHOWN, deciding, refusal, without_rows
from tsplanner.planner.space.streamed_layers import with_fewest

WORTH_STREAMING = 0.05
"""Plans that fit whole are slow for want of room if more room makes others faster by this share."""


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
