"""Optuna's sampler interface over a function, so that journal and dashboard stay Optuna's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from memory_models.settings import changed
from tsplanner.planner.advice import with_rank
from tsplanner.planner.settings import LearningSettings
from tsplanner.tune.search.space import Space

Proposer = Callable[[int], dict[str, Any]]
"""Parameters of the trial of that number."""


def axes(space: Space) -> dict[str, Any]:
    """Optuna's distributions of a space, for the journal and the dashboard."""
    from optuna.distributions import FloatDistribution, IntDistribution

    low, high = space.learning_rate
    found: dict[str, Any] = {
        "learning_rate": FloatDistribution(low, high, log=True),
        "num_train_epochs": IntDistribution(1, max(space.epochs)),
    }
    if space.lora_ranks:
        found["lora_rank"] = IntDistribution(1, max(space.lora_ranks))
    return found


def parameters_for(learning: LearningSettings, names: Iterable[str]) -> dict[str, Any]:
    """Settings as Optuna's parameters."""
    values = {
        "learning_rate": learning.optimization.learning_rate,
        "num_train_epochs": learning.optimization.num_train_epochs,
        "lora_rank": learning.method.lora_rank,
    }
    return {key: values[key] for key in names}


def learning_of(parameters: dict[str, Any], planned: LearningSettings) -> LearningSettings:
    """Optuna's parameters as settings; all else as planned."""
    learning = changed(
        planned,
        learning_rate=parameters["learning_rate"],
        num_train_epochs=parameters["num_train_epochs"],
    )
    rank = parameters.get("lora_rank")
    return learning if rank is None else with_rank(learning, int(rank))


def proposing_sampler(propose: Proposer, distributions: Callable[[], dict[str, Any]]) -> Any:
    """An optuna.samplers.BaseSampler that asks ``propose`` for all parameters at once."""
    from optuna.samplers import BaseSampler, RandomSampler

    class ProposingSampler(BaseSampler):  # type: ignore[misc]
        """Nothing of its own."""

        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
            """All parameters belong together."""
            return distributions()

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
            """What the strategy wants next; nothing where the settings are given."""
            fixed = trial.system_attrs.get("fixed_params", {})
            return {} if set(search_space) <= set(fixed) else propose(trial.number)

        def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
            """Of a parameter that nobody proposed."""
            return RandomSampler().sample_independent(study, trial, name, distribution)

    return ProposingSampler()
