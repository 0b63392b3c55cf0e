"""One optimizer step as Trainer runs it, on fake tensors."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from memory_models.settings import FinetuningType, TrainingSettings
from tsplanner.tracing.fake_cuda.storages import Kind, Phase, StorageLog
from tsplanner.tracing.fake_cuda.tensors import TraceMode
from tsplanner.training.base_model.configuration import DTYPES
from tsplanner.training.streaming.layer_major import LayerMajor

TRACED_MICRO_BATCHES = 2
"""Micro-batches to run; the third and later ones repeat the events of the second."""


@dataclass(slots=True, kw_only=True)
class Step:
    """A model, its optimizer and a batch, ready for one optimizer step."""

    model: Any
    optimizer: Any
    settings: TrainingSettings
    batch: dict[str, Tensor]
    mode: TraceMode
    layer_major: LayerMajor | None = None
    """The schedule of a streamed base."""

    @property
    def storages(self) -> StorageLog:
        """The log of births and deaths."""
        return self.mode.storages

    def run(self) -> None:
        """Run forward and backward of the micro-batches, clip, step, and drop the gradients."""
        count = self.settings.batch.gradient_accumulation_steps
        with self.mode:
            # Trainer fetches all micro-batches of a step before the first forward, because their
            # labels are counted to divide the loss.
            batches = [self.on_device() for _ in range(count)]
            items = sum(batch["labels"].ne(-100).sum() for batch in batches)
            passes = [partial(self._micro_batch, batch, items) for batch in batches]
            if self.layer_major is not None:
                self.layer_major.train(passes)
            else:
                for each in passes[:TRACED_MICRO_BATCHES]:
                    each()
            self.storages.phase = Phase.STEP
            self._update()
            self.model.zero_grad(set_to_none=True)
        del batches, items, passes
        self.storages.phase = Phase.FORWARD

    def on_device(self) -> dict[str, Tensor]:
        """A copy of the batch, as Trainer moves one to the device."""
        self.storages.phase = Phase.FORWARD
        copied = {name: tensor.clone() for name, tensor in self.batch.items()}
        self.storages.name(copied.values(), Kind.INPUTS)
        return copied

    def _micro_batch(self, batch: dict[str, Tensor], items: Any) -> None:
        self.storages.phase = Phase.FORWARD
        loss = self.loss(batch, items)
        self.storages.phase = Phase.BACKWARD
        loss.backward()
        gradients = (p.grad for p in self.model.parameters() if p.grad is not None)
        self.storages.name(gradients, Kind.GRADIENTS)

    def loss(self, batch: dict[str, Tensor], items: Any) -> Tensor:
        """The loss without the other outputs, which Trainer frees before backward."""
        from accelerate.utils.operations import convert_to_fp32

        dtype = self.settings.base.autocast
        context = torch.autocast("cpu", DTYPES[dtype]) if dtype else nullcontext()
        with context:
            outputs = self.model(**batch, **({} if items is None else self._counted(items)))
        if dtype is not None:
            # accelerate wraps the forward of a model under autocast in this cast.
            outputs = convert_to_fp32(outputs)
        loss: Tensor = outputs["loss"]
        return loss

    def _counted(self, items: Any) -> dict[str, Any]:
        """Arguments of forward: Trainer hands the count of labels to models that take one."""
        return {"num_items_in_batch": items} if takes_loss_arguments(self.model) else {}

    def _update(self) -> None:
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        # On a GPU torch would choose the foreach form by itself; it sees a CPU here.
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        self.optimizer.step()
        if self.settings.method.finetuning_type is FinetuningType.ADALORA:
            self._note_importance()

    def _note_importance(self) -> None:
        """Let AdaLoRA make its three running averages.

        The masking of ranks that follows in a real run depends on values, so a trace leaves it out.
        """
        allocator = self.model.base_model.rankallocator
        allocator.update_ipt(self.model.base_model.model)


def takes_loss_arguments(model: Any) -> bool:
    """Whether the base model's forward passes keyword arguments to its loss."""
    import inspect

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    kinds = [p.kind for p in inspect.signature(base.forward).parameters.values()]
    return inspect.Parameter.VAR_KEYWORD in kinds
