"""One trial on a shared base: adapter, data order, optimizer, schedule, clip, and its record.

The trial has everything that a Trainer run of its settings has, so that both curves are one: the
same draws of the adapter's weights, the same sampler, the same optimizer and schedule by
transformers' names.
"""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate.data_loader import SeedableRandomSampler
from torch import Tensor
from transformers import Trainer, get_scheduler

from memory_models.settings import BatchLayout, Dtype
from memory_models.units import ceil_div
from tsplanner.planner.packing import bins
from tsplanner.planner.steps import epochs_of, total_steps
from tsplanner.training.batches import EncodedSample, label_count
from tsplanner.training.data import SplitRows
from tsplanner.training.job import Job, JobKind
from tsplanner.training.multi_lora.base import SharedBase
from tsplanner.training.packing.setup import PositionsOf
from tsplanner.training.solo import saving, trainer
from tsplanner.training.solo.arguments import accumulation, rows_together, training_arguments
from tsplanner.training.solo.encoder_rate import use_encoder_rate
from tsplanner.training.solo.recorder import Recorder


class MicroBatch(NamedTuple):
    """The rows that a trial puts into one pass."""

    rows: list[EncodedSample]
    items: int
    """Number of labels of the whole optimizer step, which its losses are divided by."""
    ends_step: bool
    epoch: float
    """Epochs that are done once the micro-batch has passed."""


def micro_batches(
    rows: Sequence[EncodedSample], job: Job, positions_of: PositionsOf
) -> Iterator[MicroBatch]:
    """The trial's micro-batches in the order in which one process of Trainer draws them."""
    learning, batch = job.plan.learning, job.plan.hardware.batch
    order = SeedableRandomSampler(range(len(rows)), data_seed=learning.seed)
    probe = job.kind is JobKind.PROBE
    per_epoch = trainer.steps_per_epoch(len(rows), job.plan)
    epochs = job.probe_steps if probe else math.ceil(epochs_of(learning, per_epoch))
    size = rows_together(job.plan)
    if probe and batch.is_packed:
        size = len(rows) // job.probe_micro_batches
    together = size * accumulation(job)
    for epoch in range(epochs):
        order.set_epoch(epoch)
        # The rows of a packed probe stay together that fill a pass.
        drawn = array("q", range(len(rows)) if probe else order)
        in_epoch = ceil_div(len(drawn), size)
        for start in range(0, len(drawn), together):
            step = [rows[index] for index in drawn[start : start + together]]
            items = sum(label_count(row) for row in step)
            passed = start
            parts = list(_chunks(step, size) if probe else _parts(step, batch, positions_of))
            for number, part in enumerate(parts, start=1):
                passed += len(part)
                yield MicroBatch(
                    rows=part,
                    items=items,
                    ends_step=number == len(parts),
                    epoch=epoch + ceil_div(passed, size) / in_epoch,
                )


def _parts(
    step: list[EncodedSample], batch: BatchLayout, positions_of: PositionsOf
) -> Iterator[list[EncodedSample]]:
    """The rows of a step by micro-batch: so many rows, or as many as the budget holds."""
    if batch.token_budget is not None:
        for places in bins([positions_of(row) for row in step], batch.token_budget):
            yield [step[place] for place in places]
    else:
        yield from _chunks(step, batch.micro_batch_size)


def _chunks(step: list[EncodedSample], size: int) -> Iterator[list[EncodedSample]]:
    for first in range(0, len(step), size):
        yield step[first : first + size]


class TrialRun:
    """A trial at work; ``name`` is that of its adapter in the shared model."""

    def __init__(
        self, name: str, job: Job, rows: SplitRows, shared: SharedBase, recorder: Recorder
    ) -> None:
        self.name, self.job, self.recorder = name, job, recorder
        self.folder = Path(job.folder)
        self.shared, self.rows = shared, rows
        plan, probe = job.plan, job.kind is JobKind.PROBE
        per_epoch = trainer.steps_per_epoch(len(rows.train), plan)
        self.steps = job.probe_steps if probe else total_steps(plan.learning, per_epoch)
        self.step, self.epoch = 0, 0.0
        self.parameters = shared.add(name, plan, self.steps)
        self._make_optimizer()
        self.eval_steps: frozenset[int] = frozenset()
        if not probe and rows.validation:
            self.eval_steps = trainer.eval_steps(job, self.steps, per_epoch)
        self._batches = micro_batches(rows.train, job, shared.positions_of)
        self.last_loss = 0.0
        self._loss: Tensor | None = None
        recorder.begin(0)
        self._began = time.perf_counter()

    def _make_optimizer(self) -> None:
        plan, learning = self.job.plan, self.job.plan.learning
        arguments = training_arguments(self.job, total_steps=self.steps, evaluate=False)
        kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments, self.shared.base)
        # LoRA trains matrices alone: Trainer's second group (norms, biases) would be empty.
        groups = [{"params": self.parameters, "weight_decay": learning.optimization.weight_decay}]
        self.optimizer: Any = kind(groups, **options)
        # This comes before the scheduler, which starts from each group's rate.
        if learning.optimization.timeseries_lr is not None:
            use_encoder_rate(self.optimizer, self.shared.base, learning.optimization.timeseries_lr)
        self.scheduler = get_scheduler(
            arguments.lr_scheduler_type,
            optimizer=self.optimizer,
            num_warmup_steps=arguments.get_warmup_steps(self.steps),
            num_training_steps=self.steps,
        )
        self.scaler = None
        if plan.hardware.base.autocast is Dtype.FP16:
            # As execute.step_from_the_first: a probe's steps must not be skipped.
            scale = 1.0 if self.job.kind is JobKind.PROBE else 2.0**16
            device = self.parameters[0].device.type
            self.scaler = torch.amp.GradScaler(device, init_scale=scale)

    @property
    def ended(self) -> bool:
        """Whether all steps are done, or a full run has waited long enough for a lower loss."""
        return self.step >= self.steps or trainer.early_end(self.job, self.recorder)

    def next(self) -> MicroBatch:
        """The next micro-batch."""
        return next(self._batches)

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss that backward starts from, scaled where fp16 asks for it."""
        return loss if self.scaler is None else self.scaler.scale(loss)

    def note(self, loss: Tensor) -> None:
        """Add one micro-batch's share of the step's loss, without asking for its value yet."""
        self._loss = loss.detach() if self._loss is None else self._loss + loss.detach()

    def optimize(self) -> tuple[Tensor, Tensor, float]:
        """Clip and step; the step's loss [] and gradient norm [], and the rate it was made with."""
        optimizer, scaler, skipped = self.optimizer, self.scaler, False
        if scaler is not None:
            scaler.unscale_(optimizer)
        most = self.job.plan.learning.optimization.max_grad_norm
        # The norm is logged even where nothing is clipped.
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, most if most > 0 else float("inf"))
        if scaler is None:
            optimizer.step()
        else:
            before = scaler.get_scale()
            scaler.step(optimizer)
            scaler.update()
            skipped = scaler.get_scale() < before
        rate = float(self.scheduler.get_last_lr()[0])
        # accelerate's scheduler (scheduler.py) stands still, too, when the scaler skips a step.
        if not skipped:
            self.scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        loss, self._loss = self._loss, None
        assert loss is not None
        return loss, norm, rate

    def logged(self, *, loss: float, norm: float, rate: float, epoch: float) -> None:
        """Note that one optimizer step is done."""
        now = time.perf_counter()
        self.step, self.epoch, self.last_loss = self.step + 1, epoch, loss
        self.recorder.step_seconds.append(now - self._began)
        self._began = now
        logs = {"loss": loss, "learning_rate": rate, "grad_norm": norm}
        self.recorder.step(step=self.step, epoch=epoch, logs=logs)

    def evaluated(self, rows: list[tuple[float, int]]) -> None:
        """Note the losses of the held-out rows; a full run keeps the weights of the best ones."""
        self.recorder.evaluation(step=self.step, epoch=self.epoch, rows=rows)
        best = self.recorder.best_evaluation
        train = self.job.kind is JobKind.TRAIN
        if train and best is not None and best.step == self.step:
            saving.save_weights(self, self.job.plan, self.folder)
        self._began = time.perf_counter()  # evaluations are no part of a step

    def save_result(self) -> None:
        """Keep the last weights, under their own name if an earlier evaluation was better."""
        best = self.recorder.best_evaluation
        if best is None:
            saving.save_weights(self, self.job.plan, self.folder)
        elif best.step != self.step:
            last = f"{saving.weights_folder(self.job.plan)}-last"
            saving.save_weights(self, self.job.plan, self.folder, last)

    def save_model(self, path: str) -> None:
        """Write the adapter into a folder of PEFT's own making."""
        self.shared.save(self.name, Path(path))
