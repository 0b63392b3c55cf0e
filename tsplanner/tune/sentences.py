"""The sentences that a search ends with, for the screen, tune.json and the report."""

from __future__ import annotations

from typing import Any

import msgspec

from memory_models.settings import flat
from memory_models.units import counted
from tsplanner.planner.settings import LearningSettings
from tsplanner.tune.confirmation import Decision, Reason
from tsplanner.tune.search.paired_eval import MIN_EXAMPLES


def decision_sentence(decision: Decision) -> str:
    """Why the full run uses the settings it uses, as one sentence."""
    name, evidence = settings_words(decision.candidate), decision.evidence
    verdict = (
        ", which is no proof: keeping the baseline" if decision.keeps_baseline else ": using it"
    )
    match decision.reason:
        case Reason.NO_TIME:
            return "The budget has room for the full run alone: keeping the baseline."
        case Reason.FEW_EXAMPLES:
            few = f"Fewer than {MIN_EXAMPLES} held-out rows"
            return f"{few} tell nothing from noise: keeping the baseline."
        case Reason.BASELINE_EXPECTED_BEST:
            return "No settings are expected to beat the baseline: keeping it."
        case Reason.CANDIDATE_FAILED:
            return f"On a fresh seed {name} did not finish: keeping the baseline."
        case Reason.BASELINE_FAILED:
            return f"The baseline did not finish: using {name}."
        case Reason.UNLIKELY | Reason.UNTESTED:
            untested = (
                "too little to test on fresh seeds"
                if decision.reason is Reason.UNLIKELY
                else "and no trial or no time was left to prove it on a fresh seed"
            )
            return (
                f"The best other settings ({name}) have a chance of {evidence.chance:.0%} to beat "
                f"the baseline by the trials so far, {untested}: keeping the baseline."
            )
        case Reason.PAIRS:
            seeds = f"{evidence.fresh_seeds} fresh seed{'s' if evidence.fresh_seeds > 1 else ''}"
            return (
                f"On {seeds} the held-out loss of {name} differs from the baseline's by "
                f"{evidence.difference:+.4f} ± {evidence.half_width:.4f} (95 %), and by all trials "
                f"the chance to be better is {evidence.chance:.0%}{verdict}."
            )


def decision_document(decision: Decision) -> dict[str, Any]:
    """The decision as plain values, under the keys that tune.json has always had."""
    return {
        "learning": _plain(decision.learning),
        "is_default": decision.keeps_baseline,
        **msgspec.to_builtins(decision.evidence),
        "reason": str(decision.reason),
        "sentence": decision_sentence(decision),
        "challenger": _plain(decision.candidate),
        "default": _plain(decision.baseline),
    }


def settings_words(learning: LearningSettings) -> str:
    """Learning settings in a few words."""
    return (
        f"rank {learning.method.lora_rank}, rate {learning.optimization.learning_rate:.1e}, "
        f"{counted(learning.optimization.num_train_epochs, 'epoch')}"
    )


def _plain(learning: LearningSettings) -> dict[str, Any]:
    """Learning settings by the names of their fields, as plain values."""
    found = flat(learning)
    del found["adapter_ranks"]  # of the worker that several trials share, not of what was learned
    del found["given"]
    return dict(msgspec.to_builtins(found))
