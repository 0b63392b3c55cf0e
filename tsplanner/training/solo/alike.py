"""A Trainer whose processes keep alike what they train, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from transformers import Trainer

from tsplanner.training import distributed
from tsplanner.training.fully_sharded.trained import (
    read_slices,
    sliced_states,
    trains_slices,
    whole_states,
    whole_weights,
)


class AlikeTrainer(Trainer):
    """Leaves a frozen base out of DDP, wraps one that FSDP2 has cut, and reads and writes slices.

    Every process reads the same frozen weights, or draws the same ones, or holds its own slices or
    placeholders. DDP would send all of them out as it begins, next to a second copy of the last
    300 MB and of the head.
    """

    def _wrap_model(self, model: Any, training: bool = True, dataloader: Any = None) -> Any:
        wrapped = super()._wrap_model(model, training, dataloader)
        if not training or wrapped is not self.model or distributed.world_size() == 1:
            return wrapped
        if trains_slices(wrapped):
            return self._without_ddp(wrapped)
        wrapped._ddp_params_and_buffers_to_ignore = left_out(wrapped)
        if not any(isinstance(each, DTensor) for each in wrapped.parameters()):
            return wrapped
        return self._with_ddp(wrapped)

    def _without_ddp(self, model: nn.Module) -> nn.Module:
        """The model as it is; accelerate, which is about to prepare it, adds autocast alone.

        What it prepares afterwards it prepares as ever.
        """
        accelerator = self.accelerator

        def prepare_model(model: nn.Module, **options: Any) -> Any:
            del accelerator.prepare_model
            return accelerator.prepare_model(model, **{**options, "evaluation_mode": True})

        accelerator.prepare_model = prepare_model
        return model

    def _with_ddp(self, model: nn.Module) -> DistributedDataParallel:
        """The model with accelerate's autocast, and DDP with Trainer's settings around it.

        On a GPU accelerate refuses a model with slices, also where DDP is told to leave them alone.
        """
        ready = self.accelerator.prepare_model(model, device_placement=False, evaluation_mode=True)
        device, options = self.accelerator.device, self.accelerator.ddp_handler.to_kwargs()
        devices = None if device.type == "cpu" else [device]
        return DistributedDataParallel(ready, device_ids=devices, **options)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the weights, to which all processes give what they train of them."""
        if not trains_slices(self.model):
            super().save_model(output_dir, _internal_call)
            return
        weights = whole_weights(self.model)
        if self.args.should_save:
            self._save(output_dir, state_dict=weights)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not trains_slices(self.model):
            super()._save_optimizer_and_scheduler(output_dir)
            return
        states = whole_states(self.optimizer)
        self.optimizer.state_dict = lambda: states
        try:
            super()._save_optimizer_and_scheduler(output_dir)
        finally:
            del self.optimizer.state_dict

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if trains_slices(self.model):
            read_slices(self.model, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or not trains_slices(self.model):
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        load = self.optimizer.load_state_dict
        self.optimizer.load_state_dict = lambda whole: load(sliced_states(self.optimizer, whole))
        try:
            super()._load_optimizer_and_scheduler(checkpoint)
        finally:
            del self.optimizer.load_state_dict


def left_out(model: nn.Module) -> list[str]:
    """Names of the parameters that nobody trains, and of all buffers."""
    frozen = [name for name, each in model.named_parameters() if not each.requires_grad]
    return [*frozen, *(name for name, _ in model.named_buffers())]
