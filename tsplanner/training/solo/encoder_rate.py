"""A learning rate of its own for the time-series encoder: parameter groups of an optimizer."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import Trainer

ENCODER = "ts_encoder"


def use_encoder_rate(optimizer: Any, model: nn.Module, rate: float) -> None:
    """Move what is trained of the encoder to groups that learn by ``rate``; done once.

    Each group is split, so that weight decay stays as it was. A scheduler made later starts from
    every group's own rate and scales all of them alike.
    """
    inside = {
        id(parameter)
        for name, parameter in model.named_parameters()
        if ENCODER in name.split(".") and parameter.requires_grad
    }
    for group in list(optimizer.param_groups):
        if group.get(ENCODER):
            continue
        moved = [parameter for parameter in group["params"] if id(parameter) in inside]
        if not moved:
            continue
        group["params"] = [each for each in group["params"] if id(each) not in inside]
        optimizer.add_param_group({**group, "params": moved, "lr": rate, ENCODER: True})


class EncoderRateTrainer(Trainer):
    """Trainer whose optimizer trains the encoder by ``timeseries_lr``."""

    timeseries_lr: float | None = None
    """None: by the rate of everything else."""

    def create_optimizer(self, *args: Any, **options: Any) -> Any:
        """The optimizer, with groups of the encoder's own where it has a rate of its own."""
        optimizer = super().create_optimizer(*args, **options)
        if self.timeseries_lr is not None:
            use_encoder_rate(optimizer, self.model, self.timeseries_lr)
        return optimizer
