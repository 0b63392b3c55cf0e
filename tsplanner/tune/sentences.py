"""The sentences that a search ends with, for the screen, tune.json and the report."""

from __future__ import annotations

from typing import Any

import msgspec

from memory_models.settings import flat
from tsplanner.planner.explain.multi_lora_templates import Words
from tsplanner.planner.explain.sentences import CHINESE, ENGLISH, LANGUAGES
from tsplanner.planner.settings import LearningSettings
from tsplanner.tune.confirmation import Decision, Reason
from tsplanner.tune.search.paired_eval import MIN_EXAMPLES
from tsplanner.wording import filled

KEEPING: Words = (", which is no proof: keeping the baseline", "，不足以证明：保留基线")
USING: Words = (": using it", "：采用它")
SETTINGS: Words = (
    "rank {rank}, rate {rate:.1e}, {length}",
    "秩 {rank}、学习率 {rate:.1e}、{length}",
)
EPOCHS: Words = ("{count:epoch}", "{count} 轮")
STEPS: Words = ("{count:step}", "{count} 步")
UNPROVED: Words = (
    "The best other settings ({name}) have a chance of {chance:.0%} to beat the baseline by the "
    "trials so far, {why}: keeping the baseline.",
    "按目前的试验，最好的其他设置（{name}）胜过基线的可能性为 {chance:.0%}，{why}：保留基线。",
)
WHY_UNPROVED: dict[Reason, Words] = {
    Reason.UNLIKELY: ("too little to test on fresh seeds", "太小，不值得用新种子验证"),
    Reason.UNTESTED: (
        "and no trial or no time was left to prove it on a fresh seed",
        "但已没有试验或时间用新种子验证",
    ),
}
DECISIONS: dict[Reason, Words] = {
    Reason.NO_TIME: (
        "The budget has room for the full run alone: keeping the baseline.",
        "时间预算只够完整训练：保留基线。",
    ),
    Reason.FEW_EXAMPLES: (
        "Fewer than {least} held-out rows tell nothing from noise: keeping the baseline.",
        "留出的行少于 {least} 行，无法与噪声区分：保留基线。",
    ),
    Reason.BASELINE_EXPECTED_BEST: (
        "No settings are expected to beat the baseline: keeping it.",
        "预计没有设置能胜过基线：保留基线。",
    ),
    Reason.CANDIDATE_FAILED: (
        "On a fresh seed {name} did not finish: keeping the baseline.",
        "换用新种子后，{name} 未能完成：保留基线。",
    ),
    Reason.BASELINE_FAILED: (
        "The baseline did not finish: using {name}.",
        "基线未能完成：采用 {name}。",
    ),
    Reason.UNLIKELY: UNPROVED,
    Reason.UNTESTED: UNPROVED,
    Reason.PAIRS: (
        "On {seeds:fresh seed} the held-out loss of {name} differs from the baseline's by "
        "{difference:+.4f} ± {half_width:.4f} (95 %), and by all trials the chance to be better is "
        "{chance:.0%}{verdict}.",
        "在 {seeds} 个新种子上，{name} 的留出集损失与基线相差 {difference:+.4f} ± "
        "{half_width:.4f}（95 %）；按全部试验，更好的可能性为 {chance:.0%}{verdict}。",
    ),
}
"""What a search decided, and why, in English and in Chinese."""


def decision_sentence(decision: Decision, language: str = ENGLISH) -> str:
    """Why the full run uses the settings it uses, as one sentence."""
    column, evidence = LANGUAGES.index(language), decision.evidence
    values: dict[str, object] = {
        "name": settings_words(decision.candidate, language),
        "least": MIN_EXAMPLES,
        "seeds": evidence.fresh_seeds,
        "chance": evidence.chance,
        "difference": evidence.difference,
        "half_width": evidence.half_width,
        "verdict": (KEEPING if decision.keeps_baseline else USING)[column],
        "why": WHY_UNPROVED.get(decision.reason, ("", ""))[column],
    }
    return filled(DECISIONS[decision.reason][column], values)


def decision_document(decision: Decision) -> dict[str, Any]:
    """The decision as plain values, under the keys that tune.json has always had."""
    return {
        "learning": _plain(decision.learning),
        "is_default": decision.keeps_baseline,
        **msgspec.to_builtins(decision.evidence),
        "reason": str(decision.reason),
        "sentence": decision_sentence(decision),
        "sentence_zh": decision_sentence(decision, CHINESE),
        "challenger": _plain(decision.candidate),
        "default": _plain(decision.baseline),
    }


def settings_words(learning: LearningSettings, language: str = ENGLISH) -> str:
    """Learning settings in a few words."""
    values = {
        "rank": learning.method.lora_rank,
        "rate": learning.optimization.learning_rate,
        "length": length_words(learning, language),
    }
    return filled(SETTINGS[LANGUAGES.index(language)], values)


def length_words(learning: LearningSettings, language: str = ENGLISH) -> str:
    """How long a run is: its steps where they are given, else its epochs."""
    steps, epochs = learning.cadence.max_steps, learning.optimization.num_train_epochs
    words = EPOCHS if steps is None else STEPS
    count = epochs if steps is None else steps
    return filled(words[LANGUAGES.index(language)], {"count": count})


def _plain(learning: LearningSettings) -> dict[str, Any]:
    """Learning settings by the names of their fields, as plain values."""
    found = flat(learning)
    del found["adapter_ranks"]  # of the worker that several trials share, not of what was learned
    del found["given"]
    return dict(msgspec.to_builtins(found))
