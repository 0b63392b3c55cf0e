"""A Trainer whose steps run layer-major where the plan streams its base."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

import torch
from transformers.trainer_utils import EvalLoopOutput

from tsplanner.training import distributed
from tsplanner.training.packing.batch import PASSES
from tsplanner.training.packing.trainer import PackingTrainer
from tsplanner.training.pulse import Phase
from tsplanner.training.streaming.layer_major import LayerMajor


class LayerMajorTrainer(PackingTrainer):
    """Collects the micro-batches of a step, and runs them together when the last one is there.

    Everything around them is Trainer's own: the loss and its scale, clipping, the schedule, the
    optimizer's step.
    """

    layer_major: LayerMajor | None = None
    """None: the base is on the device, and micro-batches run one after the other."""
    evaluated_together = 1
    """Held-out rows that pass through a layer before the next layer comes."""
    passes_together: int | None = None
    """Passes of a step that pass through a layer together; None: all of them."""
    _waiting: tuple[dict[str, Any], ...] = ()
    _passed = 0
    """Passes of the step that have run."""

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Wait for the step's last micro-batch; then the sum of all losses."""
        if self.layer_major is None:
            return super().training_step(model, inputs, num_items_in_batch)
        self._waiting += tuple(inputs.get(PASSES, (inputs,)))
        last, most = self.accelerator.sync_gradients, self.passes_together
        total = torch.zeros((), device=self.args.device)
        while self._waiting and (last or (most is not None and len(self._waiting) >= most)):
            batches, self._waiting = (
                self._waiting[:most],
                self._waiting[most or len(self._waiting) :],
            )
            total = total + self._together(model, batches, num_items_in_batch)
        if last:
            distributed.average_gradients(model.parameters())
            self._passed = 0
        return total

    def _together(
        self, model: Any, batches: tuple[dict[str, Any], ...], num_items_in_batch: Any
    ) -> torch.Tensor:
        """Forward and backward of a group of passes; the sum of their losses."""
        assert self.layer_major is not None
        one, before = super().training_step, self._passed

        def run(number: int) -> torch.Tensor:
            # Every pass runs twice, and draws the same random numbers in both runs.
            self.pass_number = before + number
            loss: torch.Tensor = one(model, batches[number], num_items_in_batch)
            return loss

        self.layer_major.after_layer = self.pulse.beat
        # Gradients of the layers do not come from a backward that DDP could follow.
        with self.accelerator.no_sync(model):
            losses = self.layer_major.train([partial(run, each) for each in range(len(batches))])
        self._passed += len(batches)
        return torch.stack(losses).sum()

    def evaluation_loop(self, dataloader: Any, *args: Any, **options: Any) -> Any:
        """Several held-out rows pass through each layer together."""
        if self.layer_major is None:
            return super().evaluation_loop(dataloader, *args, **options)
        model = self.model
        model.eval()
        with self.pulse.during(Phase.EVALUATE):
            for rows in self._groups(dataloader):
                passes = [partial(self.prediction_step, model, row, True) for row in rows]
                self.layer_major.evaluate(passes)
        model.train()
        return EvalLoopOutput(
            predictions=None, label_ids=None, metrics={}, num_samples=len(dataloader.dataset)
        )

    def _groups(self, dataloader: Any) -> Iterator[tuple[Any, ...]]:
        batches = iter(dataloader)
        while group := tuple(islice(batches, self.evaluated_together)):
            yield group
