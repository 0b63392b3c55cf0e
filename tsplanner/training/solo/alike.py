"""A Trainer whose processes keep alike what they train, and nothing else."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from transformers import Trainer

from tsplanner.training import distributed


class AlikeTrainer(Trainer):
    """Leaves a frozen base out of DDP, and wraps one that FSDP2 has cut.

    Every process reads the same frozen weights, or draws the same ones, or holds its own slices or
    placeholders. DDP would send all of them out as it begins, next to a second copy of the last
    300 MB and of the head.
    """

    def _wrap_model(self, model: Any, training: bool = True, dataloader: Any = None) -> Any:
        wrapped = super()._wrap_model(model, training, dataloader)
        if not training or wrapped is not self.model or distributed.world_size() == 1:
            return wrapped
        wrapped._ddp_params_and_buffers_to_ignore = left_out(wrapped)
        if not any(isinstance(each, DTensor) for each in wrapped.parameters()):
            return wrapped
        return self._with_ddp(wrapped)

    def _with_ddp(self, model: nn.Module) -> DistributedDataParallel:
        """The model with accelerate's autocast, and DDP with Trainer's settings around it.

        On a GPU accelerate refuses a model with slices, also where DDP is told to leave them alone.
        """
        ready = self.accelerator.prepare_model(model, device_placement=False, evaluation_mode=True)
        device, options = self.accelerator.device, self.accelerator.ddp_handler.to_kwargs()
        devices = None if device.type == "cpu" else [device]
        return DistributedDataParallel(ready, device_ids=devices, **options)


def left_out(model: nn.Module) -> list[str]:
    """Names of the parameters that nobody trains, and of all buffers."""
    frozen = [name for name, each in model.named_parameters() if not each.requires_grad]
    return [*frozen, *(name for name, _ in model.named_buffers())]
