"""Optuna's sampler interface over a function, so that journal and dashboard stay Optuna's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from memory_models.settings import changed
from tsplanner.planner.advice import with_rank
from tsplanner.planner.settings import LearningSettings
from tsplanner.tune.search.space import Space

Suggest = Callable[[int], dict[str, Any]]
"""Gives the parameters of the trial with the number."""


def axes(space: Space) -> dict[str, Any]:
    """Optuna's distributions of a space, for the journal and the dashboard."""
    from optuna.distributions import FloatDistribution, IntDistribution

    low, high = space.learning_rate
    # These ranges may be wider than the lists of the space: nothing is drawn from them as long as
    # the sampler suggests all parameters at once.
    found: dict[str, Any] = {
        "learning_rate": FloatDistribution(low, high, log=True),
    }
    # Part of an epoch was given to plan, so that there is nothing to choose.
    if all(epochs == int(epochs) for epochs in space.epochs):
        found["num_train_epochs"] = IntDistribution(1, int(max(space.epochs)))
    if space.lora_ranks:
        found["lora_rank"] = IntDistribution(1, max(space.lora_ranks))
    return found


def parameters_for(learning: LearningSettings, names: Iterable[str]) -> dict[str, Any]:
    """Learning settings as Optuna's parameters."""
    values = {
        "learning_rate": learning.optimization.learning_rate,
        "num_train_epochs": learning.optimization.num_train_epochs,
        "lora_rank": learning.method.lora_rank,
    }
    return {key: values[key] for key in names}


def learning_of(parameters: dict[str, Any], planned: LearningSettings) -> LearningSettings:
    """Optuna's parameters as learning settings; all other settings are as planned."""
    epochs = parameters.get("num_train_epochs", planned.optimization.num_train_epochs)
    learning = changed(planned, learning_rate=parameters["learning_rate"], num_train_epochs=epochs)
    rank = parameters.get("lora_rank")
    return learning if rank is None else with_rank(learning, int(rank))


def suggesting_sampler(suggest: Suggest, distributions: dict[str, Any]) -> Any:
    """An optuna.samplers.BaseSampler that asks ``suggest`` for all parameters at once."""
    from optuna.samplers import BaseSampler, RandomSampler

    class SuggestingSampler(BaseSampler):  # type: ignore[misc]
        """A sampler without a state of its own."""

        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
            """All parameters belong together."""
            return distributions

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
            """The suggested parameters; none where the settings are given."""
            # Optuna lets fixed parameters win, so a queued trial needs no answer of the surrogate.
            fixed = trial.system_attrs.get("fixed_params", {})
            return {} if set(search_space) <= set(fixed) else suggest(trial.number)

        def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
            """A random value of a parameter that was not suggested."""
            return RandomSampler().sample_independent(study, trial, name, distribution)

    return SuggestingSampler()
