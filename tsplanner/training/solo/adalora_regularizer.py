"""AdaLoRA's orthogonality term, which PEFT adds to every loss that its forward returns."""

from __future__ import annotations

from typing import Any


class without_orthogonality:  # noqa: N801 - reads as the context manager it is
    """Leave AdaLoRA's orthogonality term out of the loss: held-out loss is cross-entropy alone."""

    def __init__(self, model: Any) -> None:
        self.configs = orthogonality_configs(model)
        self.weights = [item.orth_reg_weight for item in self.configs]

    def __enter__(self) -> None:
        """Switch the term off."""
        for config in self.configs:
            config.orth_reg_weight = 0.0

    def __exit__(self, *_: object) -> None:
        """Switch it on again."""
        for config, weight in zip(self.configs, self.weights, strict=True):
            config.orth_reg_weight = weight


def orthogonality_configs(model: Any) -> list[Any]:
    """AdaLoRA's configurations among a model's adapters."""
    configs = getattr(model, "peft_config", {}).values()
    return [item for item in configs if hasattr(item, "orth_reg_weight")]
