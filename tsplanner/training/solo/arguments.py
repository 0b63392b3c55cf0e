"""Trainer's arguments for a job, with the plan's values."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from memory_models.settings import Dtype
from tsplanner.planner import steps
from tsplanner.planner.packing import passes_per_step
from tsplanner.planner.plan import Plan
from tsplanner.training.job import Job, JobKind
from tsplanner.training.solo import saving

KEPT_CHECKPOINTS = 2
"""Number of checkpoints to keep: a crash while one is written leaves the other."""
TENSORBOARD = "tensorboard"
"""Its name as a tracker, and of its folder in a run folder."""


def training_arguments(job: Job, *, total_steps: int, evaluate: bool) -> TrainingArguments:
    """Trainer's arguments for a job, with the plan's values."""
    plan, probe, train = job.plan, job.kind is JobKind.PROBE, job.kind is JobKind.TRAIN
    learning, hardware = plan.learning, plan.hardware
    saved = learning.cadence.save_steps
    cuda = hardware.accelerator == "cuda"
    # Streamed layers run again in backward without torch's checkpoints.
    checkpoints = hardware.batch.gradient_checkpointing and not hardware.streaming.streams
    return TrainingArguments(
        output_dir=str(Path(job.folder) / saving.CHECKPOINTS if train else job.folder),
        per_device_train_batch_size=1 if probe else rows_together(plan),
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=accumulation(job),
        num_train_epochs=learning.optimization.num_train_epochs,
        max_steps=job.probe_steps if probe else learning.cadence.max_steps or -1,
        learning_rate=learning.optimization.learning_rate,
        lr_scheduler_type=learning.optimization.lr_scheduler_type,
        warmup_steps=steps.warmup_steps(learning, total_steps),
        weight_decay=learning.optimization.weight_decay,
        max_grad_norm=learning.optimization.max_grad_norm,
        optim=hardware.kernels.optimizer.value,
        bf16=hardware.base.autocast is Dtype.BF16,
        fp16=hardware.base.autocast is Dtype.FP16,
        gradient_checkpointing=checkpoints or None,
        gradient_checkpointing_kwargs={"use_reentrant": False} if checkpoints else None,
        seed=learning.seed,
        data_seed=learning.seed,
        eval_strategy="no",  # PlanCallback asks for evaluations at the steps it wants
        eval_on_start=evaluate and not job.resume,
        prediction_loss_only=True,
        save_strategy="no" if not train else "steps" if saved else "epoch",
        **({} if saved is None else {"save_steps": saved}),
        save_total_limit=KEPT_CHECKPOINTS,
        logging_steps=1,
        logging_nan_inf_filter=False,  # by default Trainer replaces a NaN loss by the mean loss
        disable_tqdm=True,
        report_to=reported(job),
        run_name=Path(job.folder).name,
        project="tsplanner",
        use_cpu=not cuda,
        dataloader_pin_memory=cuda,
        remove_unused_columns=False,
        label_names=["labels"],
        # A batch without a series does not use the encoder's adapters, and DDP would wait for their
        # gradients for ever.
        ddp_find_unused_parameters="ts" in plan.model.config
        if hardware.sharding.world_size > 1
        else None,
        ddp_backend=None if cuda or hardware.sharding.world_size == 1 else "gloo",
        deepspeed=deepspeed_config(plan),
    )


def reported(job: Job) -> list[str]:
    """Trackers of a job; TensorBoard's files lie in the run folder unless its variable says where.

    Trainer would put them among the checkpoints, which are deleted.
    """
    if TENSORBOARD in job.extras.report_to:
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(Path(job.folder) / TENSORBOARD))
    return list(job.extras.report_to)


def rows_together(plan: Plan) -> int:
    """Rows of a batch of the data loader: a micro-batch, or all of a step where rows are packed."""
    batch = plan.hardware.batch
    return batch.gradient_accumulation_steps if batch.is_packed else batch.micro_batch_size


def accumulation(job: Job) -> int:
    """Batches per step that Trainer adds up; a probe runs a few of the plan's micro-batches."""
    batch = job.plan.hardware.batch
    if batch.is_packed and job.kind is not JobKind.PROBE:
        return 1
    planned = passes_per_step(job.plan.dataset.lengths, batch)
    # The micro-batches of a streamed step run together, so that none can be left out.
    if job.kind is not JobKind.PROBE or job.plan.hardware.streaming.streams:
        return planned
    return min(planned, max(2, job.probe_micro_batches))


def deepspeed_config(plan: Plan) -> dict[str, Any] | None:
    """DeepSpeed's settings for a plan with ZeRO; None for a plan without ZeRO."""
    if plan.hardware.sharding.zero_stage == 0:
        return None
    from tsplanner.exporters import deepspeed

    return deepspeed.render(plan)
