"""Hugging Face's Trainer with the settings of a plan; the training loop is Trainer's own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import (
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import EvalLoopOutput

from memory_models.settings import FinetuningType
from memory_models.units import ceil_div, counted
from tsplanner.planner import steps
from tsplanner.planner.packing import passes_per_step
from tsplanner.planner.plan import Plan
from tsplanner.training import distributed
from tsplanner.training.adapters import ADALORA_ORTHOGONALITY
from tsplanner.training.fully_sharded.trained import with_gathered_root
from tsplanner.training.job import Job, JobKind
from tsplanner.training.packing.balanced import BalancedSteps
from tsplanner.training.packing.batch import PASSES
from tsplanner.training.packing.evaluation import PackedEvaluation
from tsplanner.training.pulse import Phase
from tsplanner.training.solo import saving
from tsplanner.training.solo.adalora_regularizer import orthogonality_configs, without_orthogonality
from tsplanner.training.solo.padding_samples import PaddingLast
from tsplanner.training.solo.recorder import Recorder
from tsplanner.training.stored_rows import row_tokens
from tsplanner.training.streaming.trainer import LayerMajorTrainer

STOP_FILE = "stop"
MAGNITUDES = "lora_magnitude_vector"
"""PEFT's name of DoRA's magnitudes, which begin as the norms of the base's rows."""


class PlanTrainer(LayerMajorTrainer):
    """Trainer that evaluates row by row and weighs the rows by their answer tokens.

    ``padding_samples``: number of rows at the end of the training set that only fill the last step.
    """

    def __init__(self, *, recorder: Recorder, padding_samples: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self.recorder, self.pulse = recorder, recorder.pulse
        self.padding_samples = padding_samples
        self.packed_evaluation: PackedEvaluation | None = None
        """Set where rows are packed."""
        self.held_out: list[tuple[float, int]] = []
        self.remove_callback(PrinterCallback)

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        """The names that Trainer lets decay, without DoRA's magnitudes.

        At 0 an adapter's matrices leave the base as it is; magnitudes at 0 leave none of it.
        """
        names: list[str] = super().get_decay_parameter_names(model)
        return [name for name in names if MAGNITUDES not in name.split(".")]

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """Rows in the order of a single process, padding samples at the end.

        Packed rows of a step are dealt out to the processes by their tokens.
        """
        rows, count = self.train_dataset, self.padding_samples
        balances = self.packed_evaluation is not None and distributed.world_size() > 1
        if not (count or balances):
            return super()._get_train_sampler(train_dataset)
        order = PaddingLast(len(rows) - count, count, self.args.data_seed)
        if not balances:
            return order
        together = self.args.per_device_train_batch_size
        return BalancedSteps(order, row_tokens(rows), together, distributed.world_size())

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """Divide AdaLoRA's orthogonality term by the number of micro-batches.

        PEFT adds the term once per micro-batch. It should count once per optimizer step, whatever
        the accumulation.
        """
        passes = len(inputs.get(PASSES, (inputs,))) * self.current_gradient_accumulation_steps
        weight = ADALORA_ORTHOGONALITY / passes
        for config in orthogonality_configs(self.model):
            config.orth_reg_weight = weight
        return super().training_step(model, inputs, num_items_in_batch)

    def prediction_step(self, model: Any, inputs: Any, *args: Any, **options: Any) -> Any:
        """Also note the mean loss and the number of labels of the batch, which has one row."""
        result = super().prediction_step(model, inputs, *args, **options)
        labels = int((inputs["labels"][:, 1:] != -100).sum())
        self.held_out.append((float(result[0]), labels))
        return result

    def evaluation_loop(self, *args: Any, **options: Any) -> Any:
        """Report the mean loss per token over all rows, and not the mean of the rows' means."""
        self.held_out = []
        # The mean of a row must be over its own labels; Trainer would divide by the labels of all
        # processes.
        average = self.args.average_tokens_across_devices
        self.args.average_tokens_across_devices = False
        with without_orthogonality(self.model):
            output = self._evaluated(*args, **options)
        self.args.average_tokens_across_devices = average
        self.held_out = distributed.interleaved(self.held_out, len(self.eval_dataset))
        loss = self.recorder.evaluation(
            step=self.state.global_step, epoch=float(self.state.epoch or 0.0), rows=self.held_out
        )
        output.metrics["eval_loss"] = loss
        return output

    def _evaluated(self, *args: Any, **options: Any) -> EvalLoopOutput:
        """Trainer's own loop over single rows, or passes of packed rows."""
        if self.packed_evaluation is None:
            own: EvalLoopOutput = super().evaluation_loop(*args, **options)
            return own
        count, ranks = len(self.eval_dataset), distributed.world_size()
        # As Trainer's sampler deals them out, which `interleaved` relies on.
        dealt = range(distributed.rank(), ceil_div(count, ranks) * ranks, ranks)
        base = getattr(self.model, "get_base_model", lambda: self.model)()
        rows = [self.eval_dataset[place % count] for place in dealt]
        losses = partial(self.packed_evaluation.row_losses, base, rows, self.pulse.beat)
        with self.pulse.during(Phase.EVALUATE):
            self.held_out = with_gathered_root(base, losses)
        return EvalLoopOutput(predictions=None, label_ids=None, metrics={}, num_samples=count)


class PlanCallback(TrainerCallback):
    """Times steps, writes metrics, and stops on request or when the loss is not finite."""

    def __init__(self, job: Job, recorder: Recorder, stop_wanted: Callable[[], bool]) -> None:
        self.job = job
        self.recorder = recorder
        self.stop_wanted = stop_wanted
        self.stopped = False
        self.eval_steps: frozenset[int] = frozenset()
        self.trainer: PlanTrainer | None = None
        self._began = 0.0
        self._substeps = 0
        self._substeps_ended = 0.0
        plan = job.plan
        self.planned = passes_per_step(plan.dataset.lengths, plan.hardware.batch)
        """Micro-batches of a whole step."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start the clock and choose the steps of the evaluations."""
        self.recorder.begin(state.global_step)
        trainer = self.trainer
        if self.job.kind is not JobKind.PROBE and trainer is not None:
            rows = len(trainer.train_dataset) - trainer.padding_samples
            per_epoch = steps_per_epoch(rows, self.job.plan)
            self.eval_steps = eval_steps(self.job, state.max_steps, per_epoch)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Note the time at which the first forward of the step begins."""
        self._began = self._substeps_ended = time.perf_counter()
        self._substeps = 0

    def on_substep_end(self, args: TrainingArguments, *_: Any, **__: Any) -> None:
        """Note the time after all micro-batches except the last, if a probe leaves some out."""
        self._substeps += 1
        if self._substeps == args.gradient_accumulation_steps - 1 < self.planned - 1:
            synchronize()
            self._substeps_ended = time.perf_counter()

    def on_optimizer_step(self, args: Any, state: TrainerState, *_: Any, **options: Any) -> None:
        """Let AdaLoRA re-allocate its ranks before the gradients are freed.

        PEFT (tuners/adalora/layer.py, RankAllocator) settles the ranks at step ``total_step -
        tfinal``. Its steps count from 1, so that the last step is ``total_step``.
        """
        if self.job.plan.learning.method.finetuning_type is not FinetuningType.ADALORA:
            return
        trainer = self.trainer
        if trainer is not None and not trainer.accelerator.optimizer_step_was_skipped:
            trainer.model.base_model.update_and_allocate(state.global_step + 1)

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Time the step, and ask for an evaluation or for the end if one is due."""
        synchronize()
        self.recorder.step_seconds.append(self._whole_step(time.perf_counter()))
        trainer = self.trainer
        if state.global_step in self.eval_steps and trainer and trainer.eval_dataset:
            control.should_evaluate = True
        if self.stop_wanted():
            self._stop(control)

    def _whole_step(self, now: float) -> float:
        """Seconds of the plan's step; micro-batches left out count at the rate of the others."""
        seconds = now - self._began
        if self._substeps_ended == self._began:
            return seconds
        left_out = self.planned - self._substeps - 1
        return seconds + left_out * (self._substeps_ended - self._began) / self._substeps

    def _stop(self, control: TrainerControl, message: str = "stopped on request") -> None:
        self.stopped = True
        self.recorder.message = message
        control.should_training_stop = True
        control.should_save = self.job.kind is JobKind.TRAIN

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        """Write the line of the step; a loss that is not finite ends the run."""
        if not logs or "loss" not in logs:
            return
        self.recorder.step(step=state.global_step, epoch=float(state.epoch or 0.0), logs=logs)
        if not math.isfinite(float(logs["loss"])):
            raise diverged(float(logs["loss"]), state.global_step)

    def on_save(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Leave time and peaks in the checkpoint: a run may be killed before its record."""
        if self.job.kind is JobKind.TRAIN:
            self.recorder.saved(state.global_step)

    def on_evaluate(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Save the weights of the best evaluation, and end a trial that the search has pruned."""
        best = self.recorder.best_evaluation
        if self.job.kind is JobKind.TRAIN and best and best.step == state.global_step:
            saving.save_weights(self.trainer, self.job.plan, Path(self.job.folder))
        if early_end(self.job, self.recorder):
            control.should_training_stop = True
        if self.stop_wanted():
            self._stop(control)


def synchronize() -> None:
    """Wait for the GPU, if the process uses one, so that times are those of finished work."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


class DivergedError(Exception):
    """The loss is NaN or infinite."""


def diverged(loss: float, step: int) -> DivergedError:
    """The error for a loss that is not finite at a step, with a way to fix it."""
    return DivergedError(
        f"the loss is {loss} at step {step}; lower the learning rate, or use a wider precision."
    )


def eval_steps(job: Job, total: int, per_epoch: int) -> frozenset[int]:
    """Optimizer steps of ``total`` after which a job evaluates.

    A search asks its trials at steps of its own.
    """
    wanted = job.plan.learning.cadence.eval_steps
    if job.kind is JobKind.TRAIN and wanted is not None:
        return steps.every(wanted, total)
    return steps.eval_steps(total, per_epoch, job.evals_per_epoch)


def early_end(job: Job, recorder: Recorder) -> bool:
    """Whether a full run ends here, as its held-out loss has not fallen for long enough."""
    patience = job.plan.learning.cadence.early_stopping_patience
    if job.kind is not JobKind.TRAIN or patience is None or recorder.best_evaluation is None:
        return False
    since = len(recorder.evaluations) - 1 - recorder.evaluations.index(recorder.best_evaluation)
    if since < patience:
        return False
    recorder.message = (
        f"ended early: no lower held-out loss in {counted(since, 'evaluation')} after step "
        f"{recorder.best_evaluation.step}"
    )
    return True


def steps_per_epoch(rows: int, plan: Plan) -> int:
    """Optimizer steps of one pass over ``rows``, as in the plan's forecast."""
    hardware = plan.hardware
    return steps.steps_per_epoch(
        rows,
        micro_batch_size=hardware.batch.micro_batch_size,
        world_size=hardware.sharding.world_size,
        gradient_accumulation_steps=hardware.batch.gradient_accumulation_steps,
    )
