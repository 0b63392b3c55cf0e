"""One optimizer step as Trainer runs it, on fake tensors."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from memory_models.settings import FinetuningType, TrainingSettings
from tsplanner.tracing.fake_cuda.storages import Kind, Phase, StorageLog
from tsplanner.tracing.fake_cuda.tensors import TraceMode
from tsplanner.training.model import DTYPES

TRACED_MICRO_BATCHES = 2
"""From the third on they repeat the second."""


@dataclass(slots=True, kw_only=True)
class Step:
    """What a step needs."""

    model: Any
    optimizer: Any
    settings: TrainingSettings
    batch: dict[str, Tensor]
    mode: TraceMode

    @property
    def storages(self) -> StorageLog:
        """Where births and deaths are noted."""
        return self.mode.storages

    def run(self) -> None:
        """Forward and backward of every micro-batch, clip, step, forget the gradients."""
        count = self.settings.batch.gradient_accumulation_steps
        with self.mode:
            batches = [self._on_device() for _ in range(count)]
            items = sum(batch["labels"].ne(-100).sum() for batch in batches)
            for batch in batches[:TRACED_MICRO_BATCHES]:
                self._micro_batch(batch, items)
            self.storages.phase = Phase.STEP
            self._update()
            self.model.zero_grad(set_to_none=True)
        del batches, items
        self.storages.phase = Phase.FORWARD

    def _on_device(self) -> dict[str, Tensor]:
        self.storages.phase = Phase.FORWARD
        copied = {name: tensor.clone() for name, tensor in self.batch.items()}
        self.storages.name(copied.values(), Kind.INPUTS)
        return copied

    def _micro_batch(self, batch: dict[str, Tensor], items: Any) -> None:
        self.storages.phase = Phase.FORWARD
        loss = self._loss(batch, items)
        self.storages.phase = Phase.BACKWARD
        loss.backward()
        gradients = (p.grad for p in self.model.parameters() if p.grad is not None)
        self.storages.name(gradients, Kind.GRADIENTS)

    def _loss(self, batch: dict[str, Tensor], items: Any) -> Tensor:
        """The loss alone: Trainer drops the other outputs before backward."""
        from accelerate.utils.operations import convert_to_fp32

        dtype = self.settings.base.autocast
        context = torch.autocast("cpu", DTYPES[dtype]) if dtype else nullcontext()
        with context:
            outputs = self.model(**batch, **({} if items is None else self._counted(items)))
        if dtype is not None:
            outputs = convert_to_fp32(outputs)
        loss: Tensor = outputs["loss"]
        return loss

    def _counted(self, items: Any) -> dict[str, Any]:
        """Trainer hands the count of labels to models that can take it."""
        return {"num_items_in_batch": items} if takes_loss_arguments(self.model) else {}

    def _update(self) -> None:
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        self.optimizer.step()
        if self.settings.method.finetuning_type is FinetuningType.ADALORA:
            self._note_importance()

    def _note_importance(self) -> None:
        """AdaLoRA's three averages; which ranks it then masks depends on values."""
        allocator = self.model.base_model.rankallocator
        allocator.update_ipt(self.model.base_model.model)


def takes_loss_arguments(model: Any) -> bool:
    """Whether the base model's forward passes keyword arguments to its loss."""
    import inspect

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    kinds = [p.kind for p in inspect.signature(base.forward).parameters.values()]
    return inspect.Parameter.VAR_KEYWORD in kinds
