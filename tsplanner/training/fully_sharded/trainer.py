"""A Trainer for a base that FSDP2 has cut, whose adapters DDP keeps alike."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from transformers import Trainer

from tsplanner.training import distributed


class CutBaseTrainer(Trainer):
    """Puts DDP around a model with slices itself.

    accelerate refuses to on a GPU, also where DDP is told to leave the slices alone.
    """

    def _wrap_model(self, model: Any, training: bool = True, dataloader: Any = None) -> Any:
        wrapped = super()._wrap_model(model, training, dataloader)
        cut = wrapped is self.model and any(
            isinstance(each, DTensor) for each in model.parameters()
        )
        if not (training and cut) or distributed.world_size() == 1:
            return wrapped
        return self._with_ddp(wrapped)

    def _with_ddp(self, model: nn.Module) -> DistributedDataParallel:
        """The model with accelerate's autocast, and DDP with Trainer's settings around it."""
        ready = self.accelerator.prepare_model(model, device_placement=False, evaluation_mode=True)
        device, options = self.accelerator.device, self.accelerator.ddp_handler.to_kwargs()
        devices = None if device.type == "cpu" else [device]
        return DistributedDataParallel(ready, device_ids=devices, **options)
