"""A separate learning rate for the time-series encoder, by parameter groups of the optimizer."""

from __future__ import annotations

from typing import Any

from torch import nn

from tsplanner.training.solo.alike import AlikeTrainer

ENCODER = "ts_encoder"


def use_encoder_rate(optimizer: Any, model: nn.Module, rate: float) -> None:
    """Move the trained parameters of the encoder to groups with the learning rate ``rate``.

    Each group is split, so that weight decay stays as it was. A second call changes nothing. A
    scheduler that is made later starts from each group's rate and scales all rates alike.
    """
    inside = {
        # Identities are compared, because `in` would compare tensors element by element.
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


class EncoderRateTrainer(AlikeTrainer):
    """Trainer whose optimizer trains the encoder with ``timeseries_lr``."""

    timeseries_lr: float | None = None
    """Learning rate of the encoder; None: the rate of all other parameters."""

    def create_optimizer(self, *args: Any, **options: Any) -> Any:
        """The optimizer, with separate groups for an encoder that has a separate rate."""
        optimizer = super().create_optimizer(*args, **options)
        if self.timeseries_lr is not None:
            use_encoder_rate(optimizer, self.model, self.timeseries_lr)
        return optimizer
