"""The Trainer of a job: its model, its rows and its callbacks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from transformers import set_seed

from memory_models.settings import Attention, LossKernel
from tsplanner.planner import steps
from tsplanner.planner.plan import Plan
from tsplanner.training import adapters, data, distributed
from tsplanner.training.base_model.configuration import (
    compute_dtype,
    model_config,
    register_own_models,
)
from tsplanner.training.base_model.tokenizer import load_tokenizer
from tsplanner.training.batches import collate, pad_token_id, without_mask
from tsplanner.training.fully_sharded.base import host_base, share_out
from tsplanner.training.fully_sharded.partitioned import partition, without_deepspeed
from tsplanner.training.fully_sharded.trained import share_out_trained
from tsplanner.training.job import Job, JobKind
from tsplanner.training.kernels.compiled.install import use_kernels
from tsplanner.training.kernels.fused_loss import use_fused_loss
from tsplanner.training.kernels.row_attention import use_row_attention
from tsplanner.training.language_model import read_text_alone
from tsplanner.training.packing.setup import packed_collator, packed_evaluation
from tsplanner.training.solo import trainer
from tsplanner.training.solo.arguments import accumulation, rows_together, training_arguments
from tsplanner.training.solo.checkpointed_layers import FirstLayersOnly, require_checkpointing
from tsplanner.training.solo.embedding_noise import ROWS, EmbeddingNoise, one_below_another
from tsplanner.training.solo.padding_samples import padded, padding_needed
from tsplanner.training.solo.recorder import Recorder
from tsplanner.training.solo.sampled_answers import sample_answers
from tsplanner.training.streaming.base import StreamedBase
from tsplanner.training.worker.base_model_cache import KeptBase


def build_trainer(
    job: Job,
    recorder: Recorder,
    device: torch.device,
    stop: Callable[[], bool],
    kept: KeptBase | None = None,
) -> Any:
    """The Trainer of a job, with its model, data and callbacks."""
    plan = job.plan
    register_own_models()
    config = model_config(plan.model)
    tokenizer = None if job.kind is JobKind.PROBE else load_tokenizer(plan.model)
    train, validation, collator = job_data(job, config, tokenizer, recorder.pulse.beat)
    total = total_steps(job, len(train))
    padding_samples = 0
    if job.kind is not JobKind.PROBE:
        padding_samples = padding_needed(len(train), rows_together(plan), distributed.world_size())
        train = padded(train, padding_samples)
    # TrainingArguments with ZeRO-3 register the DeepSpeed config with transformers
    # (integrations/deepspeed.py), which then shards the model while it is built. So the arguments
    # come before the model.
    arguments = training_arguments(job, total_steps=total, evaluate=bool(validation))
    if kept is not None:
        kept.make_room(plan)
    streamed = StreamedBase(plan, device) if plan.hardware.streaming.streams else None
    trained = trained_model(plan, device, arguments, total, streamed, kept)
    layer_major = None if streamed is None else streamed.attach(trained)
    callback = trainer.PlanCallback(job, recorder, stop)
    built = trainer.PlanTrainer(
        recorder=recorder,
        padding_samples=padding_samples,
        model=trained,
        args=arguments,
        train_dataset=train,
        eval_dataset=validation or None,
        data_collator=collator,
        callbacks=[callback, FirstLayersOnly(plan.hardware.batch.checkpointed_layers)],
    )
    built.layer_major, built.noise = layer_major, embedding_noise(plan, trained)
    built.passes_together = plan.hardware.streaming.passes_together
    built.evaluated_together = plan.hardware.batch.gradient_accumulation_steps
    built.timeseries_lr = plan.learning.optimization.timeseries_lr
    if plan.hardware.batch.is_packed and job.kind is not JobKind.PROBE:
        built.packed_evaluation = packed_evaluation(plan, config, pad_token_id(tokenizer))
    set_passes(built, shares=plan.hardware.sharding.shards_base)
    callback.trainer = built
    built.plan_callback = callback
    sample_answers(built, job, tokenizer, stop)
    if job.kind is JobKind.PROBE:
        step_from_the_first(built.accelerator)
    return built


def trained_model(
    plan: Plan,
    device: torch.device,
    arguments: Any,
    total_steps: int,
    streamed: StreamedBase | None,
    kept: KeptBase | None = None,
) -> Any:
    """The model that a plan trains, each process's share of it where processes share it out."""
    shares, packed = plan.hardware.sharding.shards_base, plan.hardware.partitions_packed
    with without_deepspeed(arguments) if packed else nullcontext():
        if streamed is not None:
            base = streamed.model
        elif shares or packed:
            base = host_base(plan, device)
        else:
            base = (kept or KeptBase()).take(plan, device)
        if arguments.gradient_checkpointing:
            require_checkpointing(base)
        trained = with_adapters_and_kernels(plan, base, total_steps, streamed)
    if packed:
        partition(trained, device, compute_dtype(plan.hardware), arguments)
    if shares and plan.learning.method.trains_base:
        share_out_trained(trained, device, plan.hardware.sharding)
    elif shares:
        share_out(
            trained,
            device,
            plan.hardware.sharding,
            fused_loss=plan.hardware.kernels.loss_kernel is LossKernel.FUSED,
        )
    return trained


def with_adapters_and_kernels(
    plan: Plan, base: Any, total_steps: int, streamed: StreamedBase | None
) -> Any:
    """The base with what the plan trains of it or beside it, and with the plan's kernels."""
    # The loss replaces the forward of the base, which PEFT's wrapper calls; the kernels replace
    # forwards of PEFT's linears, so they come after the adapters.
    read_text_alone(base)
    flex = plan.hardware.kernels.attention is Attention.FLEX_ATTENTION
    if plan.hardware.batch.is_packed or flex:
        use_row_attention(base, flex=flex)
    if plan.hardware.kernels.loss_kernel is LossKernel.FUSED:
        use_fused_loss(base)
    # The base drew from a seed of its own or was kept, so the adapter's draws begin anew here.
    set_seed(plan.learning.seed)
    # Adapters look at the weights that they are made for.
    with nullcontext() if streamed is None else streamed.shown():
        trained = adapters.apply_method(plan, base, total_steps)
    use_kernels(trained, plan.hardware.kernels.decoder_kernels)
    return trained


def set_passes(built: Any, *, shares: bool) -> None:
    """Which passes run together, and how many every process makes.

    ``shares``: processes share the base out. Every pass then gathers each layer from all of them,
    so that all make the number of the one that needs most.
    """
    evaluation = built.packed_evaluation
    if evaluation is not None and built.layer_major is not None:
        evaluation.together = built.layer_major.evaluate
    if shares:
        built.most_passes = distributed.largest
        if evaluation is not None:
            evaluation.most_passes = distributed.largest


def embedding_noise(plan: Plan, trained: Any) -> EmbeddingNoise | None:
    """The plan's noise on the embeddings; None: it has none."""
    alpha = plan.learning.optimization.neftune_noise_alpha
    if alpha is None:
        return None
    found = EmbeddingNoise(alpha, plan.learning.seed)
    found.join(trained.get_input_embeddings())
    return found


def step_from_the_first(accelerator: Any) -> None:
    """Start fp16's loss scale at 1 instead of 65,536.

    The usual scale overflows in the first steps, and the GradScaler skips these steps. A probe
    would end before the optimizer has made its states, and so before the peak.
    """
    if getattr(accelerator, "scaler", None) is not None:
        accelerator.scaler = torch.amp.GradScaler(accelerator.device.type, init_scale=1.0)


def job_data(
    job: Job, config: Any, tokenizer: Any | None, beat: Callable[[], None] = lambda: None
) -> tuple[Sequence[Any], Sequence[Any], Callable[[list[Any]], Any]]:
    """Training rows, held-out rows, and the collator that makes a batch of rows.

    ``beat`` is called now and then while the rows are tokenised.
    """

    def tell(sentence: str) -> None:
        beat()
        if distributed.is_main():
            sys.stderr.write(sentence + "\n")

    # The merge of series needs the mask, which says where the text of a row ends.
    shown = (lambda batch: batch) if getattr(config, "ts", None) is not None else without_mask
    if job.kind is JobKind.PROBE:
        # Each item of a probe is a whole micro-batch already.
        micro_batches = job.probe_steps * accumulation(job)
        batches = data.probe_batches(job.plan, config, micro_batches)
        return batches, [], lambda items: shown(items[0])
    rows = data.load_rows(job.plan, tokenizer, config, beat=tell)
    pad_id = pad_token_id(tokenizer)
    if job.plan.hardware.batch.is_packed:
        return rows.train, rows.validation, packed_collator(job.plan, config, pad_id)
    if job.plan.learning.optimization.neftune_noise_alpha is None:
        return rows.train, rows.validation, lambda items: shown(collate(items, pad_id))
    return (
        rows.train,
        rows.validation,
        lambda items: {**shown(collate(items, pad_id)), ROWS: one_below_another(items)},
    )


def total_steps(job: Job, rows: int) -> int:
    """Optimizer steps of the whole job."""
    if job.kind is JobKind.PROBE:
        return job.probe_steps
    return steps.total_steps(job.plan.learning, trainer.steps_per_epoch(rows, job.plan))
