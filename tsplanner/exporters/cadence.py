"""When another trainer evaluates, saves and ends, its noise on embeddings, and what decays.

Source of every key: TrainingArguments of transformers, which LLaMA-Factory, TRL and axolotl hand on
by its own names.
"""

from __future__ import annotations

from typing import Any

from memory_models.settings import FinetuningType
from tsplanner.exporters.trainers import figures
from tsplanner.planner.plan import Plan


def keys(plan: Plan) -> dict[str, Any]:
    """Steps, checkpoints and noise; what a plan leaves at its default is not written."""
    cadence, noise = plan.learning.cadence, plan.learning.optimization.neftune_noise_alpha
    return {
        **({"max_steps": cadence.max_steps} if cadence.max_steps is not None else {}),
        **({"neftune_noise_alpha": noise} if noise is not None else {}),
        **_every("save", cadence.save_steps),
        "save_total_limit": 2,
    }


def evaluation_keys(plan: Plan) -> dict[str, Any]:
    """Evaluations of the held-out rows; empty where there are none."""
    if not figures.held_out_rows(plan):
        return {}
    return _every("eval", plan.learning.cadence.eval_steps)


def _every(what: str, steps: int | None) -> dict[str, Any]:
    if steps is None:
        return {f"{what}_strategy": "epoch"}
    return {f"{what}_strategy": "steps", f"{what}_steps": steps}


def notes(plan: Plan, trainer: str, *, ends_early: bool) -> list[str]:
    """What the trainer does otherwise than the plan; ``ends_early``: it can end a run early."""
    found = []
    patience = plan.learning.cadence.early_stopping_patience
    if patience is not None and not ends_early:
        found.append(
            f"{trainer} has no flag for early stopping: the run goes on to its last step, where "
            f"tsplanner ends it after {patience} evaluations without a lower held-out loss."
        )
    if plan.learning.optimization.neftune_noise_alpha is not None:
        found.append(
            f"NEFTune's noise is smaller under {trainer} in rows that are padded: it counts the "
            "padding as part of a row, and tsplanner does not."
        )
    dora = plan.learning.method.finetuning_type is FinetuningType.DORA
    if dora and plan.learning.optimization.weight_decay:
        found.append(
            f"{trainer} lets DoRA's magnitudes decay as well, towards 0 and not towards the base: "
            "tsplanner does not."
        )
    return found
