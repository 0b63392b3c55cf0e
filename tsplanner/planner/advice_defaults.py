"""Defaults that depend on the model: the prior of every search, and what `plan` starts from."""

from __future__ import annotations

from memory_models.settings import FinetuningType

FULL_OVER_ADAPTER = 0.1
ADAPTER_RATES = (
    (100_000_000, 3e-3),
    (4_500_000_000, 1e-3),
)
"""Adapter learning rates up to so many parameters of the base; above them the last resort."""
LARGE_ADAPTER_RATE = 3e-4


def default_learning_rate(method: FinetuningType, parameters_total: int) -> float:
    """Learning rate to start from.

    Adapters: 3e-4, which is the best or next to it for most of 31 models of a public sweep
    (regret median 0.0000, 90th percentile 0.0051 nats), and 1e-3 up to about 4B parameters, where
    the same sweep prefers it. Below 100M that trend is continued, beyond what the sweep covers.
    Full and freeze: a tenth of that.
    Source: tinker-cookbook's public LoRA sweep; LoRA Without Regret (Schulman et al., 2025).
    """
    adapter = next(
        (rate for most, rate in ADAPTER_RATES if parameters_total <= most), LARGE_ADAPTER_RATE
    )
    return adapter if method.uses_adapter else FULL_OVER_ADAPTER * adapter
