"""A plan as JSON: what lost, what was refused, and what would help, with reasons in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tsplanner.planner.advice import Suggestion
from tsplanner.planner.compare import RankedCandidate
from tsplanner.planner.explain.deepspeed_sizes import deepspeed_sizes
from tsplanner.planner.explain.reasons import Refusal, Remark
from tsplanner.planner.explain.sentences import (
    advice_sentence,
    describe,
    difference_words,
    explanation_sentence,
    refusal_sentence,
    remark_sentence,
    sentence,
)
from tsplanner.planner.explain.suggestions import FitSuggestion
from tsplanner.planner.files import plan_values
from tsplanner.planner.forecast import Cost
from tsplanner.planner.rank import Choice, Failure
from tsplanner.planner.space.pareto import quality_risk


def refusal_values(refused: Refusal) -> dict[str, str]:
    """A refusal for ``--json``."""
    return {
        "rule": refused.rule,
        "setting": describe(refused.hardware),
        "reason": refusal_sentence(refused),
    }


def remark_values(remark: Remark) -> dict[str, str]:
    """What to know of a plan, for ``--json``."""
    return {"kind": remark.kind, "words": remark_sentence(remark)}


def suggestion_values(suggested: FitSuggestion) -> dict[str, object]:
    """A change that would make a plan fit, for ``--json``."""
    change = sentence(suggested.change, suggested.data)
    return {"change": change, "needs_bytes": suggested.needs_bytes}


def advice_values(row: Suggestion) -> dict[str, object]:
    """A suggested learning setting for ``--json``."""
    return {
        "setting": row.setting,
        "value": row.value,
        "planned": row.planned,
        "rule": advice_sentence(row.rules),
        "source": row.source,
    }


def candidate_values(row: RankedCandidate, setting: str) -> dict[str, object]:
    """A candidate that lost, for ``--json``; ``setting``: the words that tell it from others."""
    found = row.evaluated
    return {
        "setting": setting,
        "hardware": asdict(found.hardware),
        "verdict": found.verdict,
        "process_bytes": asdict(found.memory.process_bytes),
        "samples_per_second": found.samples_per_second,
        "relative_speed": row.relative_speed,
        "quality_risk": quality_risk(found.hardware),
        "reason": explanation_sentence(row.explanation),
    }


def plan_document(
    choice: Choice,
    path: Path | None,
    cost: Cost | None,
    advised: Sequence[Suggestion],
    *,
    probes: Sequence[object] = (),
) -> dict[str, object]:
    """One document: the plan, where it was written, what lost, what was refused and advised."""
    hardware = choice.plan.hardware
    sizes = deepspeed_sizes(choice.plan.architecture, hardware.sharding, hardware.base.quantization)
    return {
        "plan": plan_values(choice.plan),
        "path": None if path is None else str(path),
        "cost": None if cost is None else asdict(cost),
        "probes": list(probes),
        **({"deepspeed": sizes} if sizes else {}),
        **choice_values(choice),
        "advice": [advice_values(row) for row in advised],
    }


def choice_values(choice: Choice) -> dict[str, object]:
    """What lost to the plan and what was refused, for ``--json``."""
    chosen = choice.plan.hardware
    return {
        "front": [
            candidate_values(row, difference_words(row.evaluated.hardware, chosen))
            for row in choice.front
        ],
        "alternatives": [
            candidate_values(row, describe(row.evaluated.hardware)) for row in choice.alternatives
        ],
        "refusals": [refusal_values(row) for row in choice.refusals],
        "remarks": [remark_values(row) for row in choice.remarks],
        "considered": choice.considered,
    }


def failure_values(failure: Failure) -> dict[str, object]:
    """The smallest plan and what would make one fit, for ``--json``."""
    smallest = failure.smallest
    return {
        "smallest": {
            "hardware": asdict(smallest.hardware),
            "process_bytes": asdict(smallest.memory.process_bytes),
            "free_bytes": smallest.free_bytes,
            "lacks": failure.shortage.memory,
            "host_bytes": asdict(smallest.memory.host_bytes),
        },
        "remedies": [suggestion_values(row) for row in failure.suggestions],
        "refusals": [refusal_values(row) for row in failure.refusals],
        "remarks": [remark_values(row) for row in failure.remarks],
    }
