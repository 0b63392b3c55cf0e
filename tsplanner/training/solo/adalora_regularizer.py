"""AdaLoRA's orthogonality term, which PEFT (tuners/adalora/model.py) adds to every loss."""

from __future__ import annotations

from typing import Any


class without_orthogonality:  # noqa: N801 - reads as the context manager it is
    """Leaves AdaLoRA's orthogonality term out, so that a held-out loss is only cross-entropy."""

    def __init__(self, model: Any) -> None:
        self.configs = orthogonality_configs(model)
        self.weights = [item.orth_reg_weight for item in self.configs]

    def __enter__(self) -> None:
        """Switch the term off."""
        for config in self.configs:
            config.orth_reg_weight = 0.0

    def __exit__(self, *_: object) -> None:
        """Restore the weights of the term."""
        for config, weight in zip(self.configs, self.weights, strict=True):
            config.orth_reg_weight = weight


def orthogonality_configs(model: Any) -> list[Any]:
    """The AdaLoRA configurations among the adapters of a model."""
    configs = getattr(model, "peft_config", {}).values()
    return [item for item in configs if hasattr(item, "orth_reg_weight")]
