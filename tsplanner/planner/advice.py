"""Epochs, rank and learning rate that public evidence suggests, each with its rule. Pure.

``tune`` starts from the same values: what is advised is what the search is centred on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from memory_models.settings import changed
from tsplanner.planner.advice_defaults import default_learning_rate
from tsplanner.planner.plan import DatasetRef
from tsplanner.planner.settings import LearningSettings

RANKS = (4, 8, 16, 32)
"""What is searched, and advised from."""
EPOCHS = ((2_000, (1, 2, 3)), (20_000, (1, 2)))
"""Rows up to which these epochs are tried; beyond, one epoch is plenty of steps."""
SHORT_RUN_STEPS = 100
"""Optimizer steps under which a run counts as very short."""

RATE_RULES = (
    (100_000_000, "the trend of larger models continued, beyond what was measured"),
    (4_500_000_000, "models up to 4B did best at 1e-3, at any rank"),
    (math.inf, "3e-4 came within 0.0051 nats of the best for nine of ten models, at any rank"),
)
"""Why an adapter's rate is what it is, by parameters; see ``default_learning_rate``."""

SWEEP = "public LoRA sweep of tinker-cookbook: 35 models, 482 runs, one dataset, batch 128"
WITHOUT_REGRET = "LoRA Without Regret (Schulman et al., 2025)"
OLIVER_WANG = "Oliver and Wang, arXiv 2407.13906"

Affordable = Callable[[LearningSettings], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """One setting, why, and who says so."""

    setting: str
    """Field of LearningSettings."""
    value: float
    planned: float
    """What the plan has."""
    rule: str
    """One sentence."""
    source: str


def advice(
    learning: LearningSettings,
    dataset: DatasetRef,
    parameters_total: int,
    total_steps: int,
    affordable: Affordable,
) -> tuple[Suggestion, ...]:
    """Suggestions for a dataset and a model; none on epochs where there is no dataset.

    ``total_steps``: of the plan's full run. ``affordable``: whether settings fit the memory.
    """
    found = [_epochs(learning, dataset)] if dataset.lengths.rows_kept else []
    if learning.method.finetuning_type.uses_adapter:
        found.append(_rank(learning, affordable))
    found.append(_learning_rate(learning, parameters_total, total_steps, dataset))
    return tuple(found)


def epochs_for(rows: int) -> tuple[int, ...]:
    """Epochs worth trying for so many rows; the last is the one advised."""
    return next((choices for most, choices in EPOCHS if rows <= most), (1,))


def _epochs(learning: LearningSettings, dataset: DatasetRef) -> Suggestion:
    rows, value = dataset.lengths.rows_kept, epochs_for(dataset.lengths.rows_kept)[-1]
    tokens = rows * dataset.lengths.mean / 1e6
    return Suggestion(
        setting="num_train_epochs",
        value=value,
        planned=learning.optimization.num_train_epochs,
        rule=(
            f"{rows:,} rows ({tokens:.3g} M tokens) x {value} are {value * rows:,} samples; one "
            "task saturated near 6,500"
        ),
        source=OLIVER_WANG,
    )


def _rank(learning: LearningSettings, affordable: Affordable) -> Suggestion:
    return Suggestion(
        setting="lora_rank",
        value=largest_rank(learning, {*RANKS, learning.method.lora_rank}, affordable),
        planned=learning.method.lora_rank,
        rule=(
            "the largest that fits, as it was best for 31 of 35 models; ranks differ by 0.006 nats "
            "at the median"
        ),
        source=SWEEP,
    )


def _learning_rate(
    learning: LearningSettings, parameters_total: int, total_steps: int, dataset: DatasetRef
) -> Suggestion:
    value = default_learning_rate(learning.method.finetuning_type, parameters_total)
    if not learning.method.finetuning_type.uses_adapter:
        rule = "a tenth of what adapters of this model take"
    else:
        rule = next(rule for most, rule in RATE_RULES if parameters_total <= most)
    if dataset.lengths.rows_kept and total_steps < SHORT_RUN_STEPS:
        rule += f"; {total_steps} steps stand up to 1.5 times that"
    return Suggestion(
        setting="learning_rate",
        value=value,
        planned=learning.optimization.learning_rate,
        rule=rule,
        source=f"{SWEEP}; {WITHOUT_REGRET}",
    )


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
