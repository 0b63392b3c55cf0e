"""Epochs, rank and learning rate that public evidence suggests, each with its rule. Pure.

``tune`` starts from the same values: a search is centred on what is advised here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from memory_models.frozen import frozen
from memory_models.settings import FinetuningType, changed
from tsplanner.planner.explain.reasons import AdviceRule, AppliedRule
from tsplanner.planner.plan import DatasetRef
from tsplanner.planner.settings import LearningSettings

RANKS = (4, 8, 16, 32)
"""Ranks that are searched, and that advice is chosen from."""
EPOCHS = ((2_000, (1, 2, 3)), (20_000, (1, 2)))
"""The epochs that are tried up to a number of rows; beyond, one epoch has enough steps."""
SATURATED_SAMPLES = 6_500
"""Samples after which one task of a public study no longer improved (``OLIVER_WANG``)."""
SHORT_RUN_STEPS = 100
"""Optimizer steps under which a run counts as very short."""


@frozen
class RateTier:
    """The learning rate of a method for models up to a size."""

    most_parameters: float
    rate: float
    rule: AdviceRule


ADAPTER_RATES = (
    RateTier(most_parameters=100_000_000, rate=3e-3, rule=AdviceRule.RATE_EXTRAPOLATED),
    RateTier(most_parameters=4_500_000_000, rate=1e-3, rule=AdviceRule.RATE_SMALL_MODEL),
    RateTier(most_parameters=math.inf, rate=3e-4, rule=AdviceRule.RATE_LARGE_MODEL),
)
FULL_RATES = (
    RateTier(most_parameters=100_000_000, rate=3e-4, rule=AdviceRule.RATE_EXTRAPOLATED),
    RateTier(most_parameters=4_500_000_000, rate=2e-5, rule=AdviceRule.RATE_WITHOUT_ADAPTER),
    RateTier(most_parameters=15_000_000_000, rate=1e-5, rule=AdviceRule.RATE_WITHOUT_ADAPTER),
    RateTier(most_parameters=math.inf, rate=5e-6, rule=AdviceRule.RATE_WITHOUT_ADAPTER),
)
"""Of full and freeze; see `default_learning_rate`."""

SWEEP = "public LoRA sweep of tinker-cookbook: 35 models, 482 runs, one dataset, batch 128"
WITHOUT_REGRET = "LoRA Without Regret (Schulman et al., 2025)"
PRACTICE = (
    "published recipes: TRL's sft.py (0.5B, 2e-5), LLaMA-Factory's llama3_full_sft.yaml (8B, "
    "1e-5), Stanford Alpaca (7B, 2e-5; 13B, 1e-5), Tulu 3 (8B, 5e-6; 70B, 2e-6)"
)
OLIVER_WANG = "Oliver and Wang, arXiv 2407.13906"

Affordable = Callable[[LearningSettings], bool]


@frozen
class Suggestion:
    """A value for one learning setting, with its rules of thumb and their source."""

    setting: str
    """Name of the field of LearningSettings."""
    value: float
    planned: float
    """The value that the plan has."""
    rules: tuple[AppliedRule, ...]
    source: str
    """The publication that the rules rest on."""


def advice(
    learning: LearningSettings,
    dataset: DatasetRef,
    parameters_total: int,
    total_steps: int,
    affordable: Affordable,
) -> tuple[Suggestion, ...]:
    """Suggestions for a dataset and a model; none on epochs where they decide nothing.

    ``total_steps``: of the plan's full run. ``affordable``: whether settings fit the memory.
    """
    by_epochs = dataset.lengths.rows_kept and learning.cadence.max_steps is None
    found = [_epochs(learning, dataset)] if by_epochs else []
    if learning.method.finetuning_type.uses_adapter:
        found.append(_rank(learning, affordable))
    found.append(_learning_rate(learning, parameters_total, total_steps, dataset))
    return tuple(found)


def epochs_for(rows: int) -> tuple[int, ...]:
    """Epochs worth trying for a dataset of this number of rows; the last is the one advised."""
    return next((choices for most, choices in EPOCHS if rows <= most), (1,))


def _epochs(learning: LearningSettings, dataset: DatasetRef) -> Suggestion:
    rows, value = dataset.lengths.rows_kept, epochs_for(dataset.lengths.rows_kept)[-1]
    applied = AppliedRule(
        rule=AdviceRule.EPOCHS_BY_ROWS,
        data={
            "rows": rows,
            "tokens": rows * dataset.lengths.mean / 1e6,
            "epochs": value,
            "samples": value * rows,
            "saturated": SATURATED_SAMPLES,
        },
    )
    return Suggestion(
        setting="num_train_epochs",
        value=value,
        planned=learning.optimization.num_train_epochs,
        rules=(applied,),
        source=OLIVER_WANG,
    )


def _rank(learning: LearningSettings, affordable: Affordable) -> Suggestion:
    return Suggestion(
        setting="lora_rank",
        # The plan's own rank is a choice too, so that a larger one is not advised away.
        value=largest_rank(learning, {*RANKS, learning.method.lora_rank}, affordable),
        planned=learning.method.lora_rank,
        rules=(AppliedRule(rule=AdviceRule.LARGEST_RANK),),
        source=SWEEP,
    )


def _learning_rate(
    learning: LearningSettings, parameters_total: int, total_steps: int, dataset: DatasetRef
) -> Suggestion:
    method = learning.method.finetuning_type
    tier = _tier(method, parameters_total)
    rules = [AppliedRule(rule=tier.rule)]
    if dataset.lengths.rows_kept and total_steps < SHORT_RUN_STEPS:
        rules.append(AppliedRule(rule=AdviceRule.RATE_SHORT_RUN, data={"steps": total_steps}))
    return Suggestion(
        setting="learning_rate",
        value=tier.rate,
        planned=learning.optimization.learning_rate,
        rules=tuple(rules),
        source=f"{SWEEP}; {WITHOUT_REGRET}" if method.uses_adapter else PRACTICE,
    )


def _tier(method: FinetuningType, parameters_total: int) -> RateTier:
    tiers = ADAPTER_RATES if method.uses_adapter else FULL_RATES
    return next(tier for tier in tiers if parameters_total <= tier.most_parameters)


def default_learning_rate(method: FinetuningType, parameters_total: int) -> float:
    """Learning rate to start from: the baseline of every search, and the default of ``plan``.

    Adapters: 3e-4, which is the best or next to it for most of 31 models of a public sweep
    (regret median 0.0000, 90th percentile 0.0051 nats), and 1e-3 up to about 4B parameters, where
    the same sweep prefers it. Below 100M that trend is continued, beyond what the sweep covers.
    Full and freeze: 2e-5 up to about 4B parameters, 1e-5 up to 15B and 5e-6 beyond, as published
    recipes have it; below 100M a tenth of an adapter's rate, beyond what recipes cover.
    Source: tinker-cookbook's public LoRA sweep; LoRA Without Regret (Schulman et al., 2025); for
    full the recipes of TRL, LLaMA-Factory, Stanford Alpaca and Tulu 3 (arXiv 2411.15124).
    """
    return _tier(method, parameters_total).rate


def with_rank(learning: LearningSettings, rank: int) -> LearningSettings:
    """Another rank at the same scale: alpha keeps its ratio to the rank.

    With alpha at a fixed multiple of the rank the best learning rate hardly moves with it.
    """
    alpha, target = learning.method.lora_alpha, learning.method.adalora_init_rank
    ratio = rank / learning.method.lora_rank
    return changed(
        learning,
        lora_rank=rank,
        lora_alpha=None if alpha is None else alpha * ratio,
        adalora_init_rank=None if target is None else max(rank, round(target * ratio)),
    )


def largest_rank(learning: LearningSettings, ranks: Iterable[int], affordable: Affordable) -> int:
    """The largest of these ranks that memory affords."""
    for rank in sorted(ranks, reverse=True):
        if affordable(with_rank(learning, rank)):
            return rank
    return learning.method.lora_rank
