"""Jobs from job.json to record.json, inside a worker process.

Probe, trial and full run are this one path; they differ in their data, their evaluations and in
what they keep. Whatever happens, one record.json says how it ended, unless the process was killed.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import torch
from transformers import set_seed

from memory_models.settings import FinetuningType, LossKernel
from tsplanner.errors import TsplannerError
from tsplanner.planner import steps
from tsplanner.planner.plan import Plan
from tsplanner.runs import DiskError
from tsplanner.training import adapters, answers, data, distributed, model
from tsplanner.training.batches import collate, pad_token_id, without_mask
from tsplanner.training.fully_sharded.base import host_base, share_out
from tsplanner.training.fully_sharded.partitioned import partition, without_deepspeed
from tsplanner.training.fully_sharded.trained import share_out_trained
from tsplanner.training.job import CANNOT_WRITE, Job, JobKind, Status
from tsplanner.training.kernels.attention_backend import choose_attention_backend
from tsplanner.training.kernels.compiled.install import use_kernels
from tsplanner.training.kernels.fused_loss import use_fused_loss
from tsplanner.training.kernels.row_attention import use_row_attention
from tsplanner.training.language_model import read_text_alone
from tsplanner.training.memory import MemoryMeter, limit_allocator
from tsplanner.training.multi_lora import loop
from tsplanner.training.packing.setup import packed_collator, packed_evaluation
from tsplanner.training.pulse import Phase
from tsplanner.training.record import Unchecked
from tsplanner.training.solo import saving, trainer
from tsplanner.training.solo.checkpointed_layers import FirstLayersOnly, require_checkpointing
from tsplanner.training.solo.embedding_noise import ROWS, EmbeddingNoise, one_below_another
from tsplanner.training.solo.padding_samples import padded, padding_needed
from tsplanner.training.solo.recorder import Recorder
from tsplanner.training.solo.sampled_answers import sample_answers
from tsplanner.training.streaming.base import StreamedBase
from tsplanner.training.worker.base_model_cache import KeptBase
from tsplanner.training.worker.outcome import guarded
from tsplanner.training.worker.stop_switch import StopSwitch
from tsplanner.trust import is_granted

PARENT_CHECK_SECONDS = 1.0
SINGLE_PROCESS = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}
"""Variables that DeepSpeed reads from a launcher; without them DeepSpeed would look for MPI."""


def execute(paths: Sequence[Path]) -> int:
    """Run the jobs of some job.json, one after another.

    The exit status is 0 if all jobs succeeded or were stopped, and 1 otherwise. Probes of one base
    share the base. A run of several processes ends with the first job that fails in any of them,
    because the others may wait for the failed one in a collective.
    """
    _die_with_parent()
    stop, base, status = StopSwitch(), KeptBase(), 0
    stop.install()
    for path in paths:
        if stop.signalled or (status and distributed.world_size() > 1):
            break
        status = max(status, execute_one(path, stop, base))
        base.clear()
    distributed.leave(status)
    return status


def execute_one(path: Path, stop: StopSwitch, base: KeptBase) -> int:
    """Run one job and write its record; 0 if the job succeeded or was stopped, 1 otherwise.

    A record that cannot be written is CANNOT_WRITE, for nothing else could say why.
    """
    job = read_job(path)
    stop.file = Path(job.folder) / trainer.STOP_FILE
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    # The meter has to exist before CUDA starts, so it is made before anything is loaded.
    recorder = Recorder(job, MemoryMeter(cuda=job.plan.hardware.accelerator == "cuda"))
    stop.last_words = lambda: recorder.finish(Status.STOPPED, "ended with the other processes")
    recorder.pulse.enter(Phase.LOAD)
    status, message = guarded(lambda: run(job, recorder, stop, base), Path(job.folder))
    try:
        recorder.finish(status, message)
    except DiskError:
        return CANNOT_WRITE
    recorder.pulse.enter(Phase.DONE)
    return 0 if status in (Status.OK, Status.STOPPED) else 1


def read_job(path: Path) -> Job:
    """A job.json; whether code from the model's folder may run is this process's own argument."""
    job = msgspec.json.decode(path.read_bytes(), type=Job)
    model_ref = replace(job.plan.model, trust_remote_code=is_granted())
    return replace(job, plan=replace(job.plan, model=model_ref))


def run(job: Job, recorder: Recorder, stop: StopSwitch, base: KeptBase) -> Status:
    """Load, train and save; every error is raised to the caller."""
    began = time.monotonic()
    plan = job.plan
    distributed.check_world_size(plan.hardware)
    device = model.training_device(plan.hardware)
    if plan.hardware.sharding.zero_stage:
        join_deepspeed(device)
    limit_allocator(device, job.memory_limit_bytes)
    choose_attention_backend(plan)
    recorder.device_name = device_name(device)
    if job.shared is not None:
        return run_multi_lora(job, recorder, device, stop, base)
    built = build_trainer(job, recorder, device, stop, base)
    recorder.meter.end_of_load(from_file=plan.model.has_weights)
    recorder.load_seconds = time.monotonic() - began
    if stop():
        return Status.STOPPED
    checkpoint = resumed_from(job)
    recorder.pulse.enter(Phase.STEP)
    built.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if job.kind is JobKind.TRAIN:
        save_result(built, job, recorder)
        recorder.end_of_training()
        check_values(built, job, recorder, stop)
    return Status.STOPPED if built.plan_callback.stopped else Status.OK


def resumed_from(job: Job) -> Path | None:
    """The checkpoint that a resumed job goes on from; None: it begins at its first step."""
    if not job.resume:
        return None
    folder = Path(job.folder)
    if distributed.is_main():
        saving.recover_weights(folder, saving.weights_folder(job.plan))
    distributed.barrier()
    return saving.latest_checkpoint(folder)


def run_multi_lora(
    job: Job, recorder: Recorder, device: torch.device, stop: StopSwitch, base: KeptBase
) -> Status:
    """Train several trials on one base."""
    began = time.monotonic()
    set_seed(job.plan.learning.seed)
    trials = loop.MultiLoraLoop(job, recorder, stop, base.take(job.plan, device))
    recorder.meter.end_of_load(from_file=job.plan.model.has_weights)
    recorder.load_seconds = time.monotonic() - began
    recorder.begin(0)
    recorder.pulse.enter(Phase.STEP)
    return trials.run()


def join_deepspeed(device: torch.device) -> None:
    """Connect DeepSpeed's processes before Trainer asks DeepSpeed for their number.

    A run of one process gets a group without a port of the machine, so that any number of such runs
    can train on one machine at the same time.
    """
    if distributed.world_size() == 1 and not torch.distributed.is_initialized():
        for key, value in SINGLE_PROCESS.items():
            os.environ.setdefault(key, value)
        backend = "nccl" if device.type == "cuda" else "gloo"
        store = torch.distributed.HashStore()
        torch.distributed.init_process_group(backend, store=store, rank=0, world_size=1)
    import deepspeed

    deepspeed.init_distributed()


def build_trainer(
    job: Job,
    recorder: Recorder,
    device: torch.device,
    stop: Callable[[], bool],
    kept: KeptBase | None = None,
) -> Any:
    """The Trainer of a job, with its model, data and callbacks."""
    plan = job.plan
    model.register_own_models()
    config = model.model_config(plan.model)
    tokenizer = None if job.kind is JobKind.PROBE else model.load_tokenizer(plan.model)
    train, validation, collator = job_data(job, config, tokenizer, recorder.pulse.beat)
    total = total_steps(job, len(train))
    padding_samples = 0
    if job.kind is not JobKind.PROBE:
        padding_samples = padding_needed(
            len(train), trainer.rows_together(plan), distributed.world_size()
        )
        train = padded(train, padding_samples)
    # TrainingArguments with ZeRO-3 register the DeepSpeed config with transformers
    # (integrations/deepspeed.py), which then shards the model while it is built. So the arguments
    # come before the model.
    arguments = trainer.training_arguments(job, total_steps=total, evaluate=bool(validation))
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
        partition(trained, device, model.compute_dtype(plan.hardware), arguments)
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
    if plan.hardware.batch.is_packed:
        use_row_attention(base)
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
        micro_batches = job.probe_steps * trainer.accumulation(job)
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


def save_result(built: Any, job: Job, recorder: Recorder) -> None:
    """Save the last weights, under another name if an earlier evaluation was better."""
    folder, best = Path(job.folder), recorder.best_evaluation
    if best is None:
        saving.save_weights(built, job.plan, folder)
    elif best.step != built.state.global_step:
        last = f"{saving.weights_folder(job.plan)}-last"
        saving.save_weights(built, job.plan, folder, last)


def check_values(built: Any, job: Job, recorder: Recorder, stop: StopSwitch) -> None:
    """Let a model that reads series answer held-out rows, and note which values are right.

    With ZeRO-3 and FSDP2 no process has the whole model. Streamed layers come anew for every token,
    so that there may be no time for an answer. The record says of both why nothing was checked.
    """
    plan, series = job.plan, getattr(built.model.config, "ts", None) is not None
    if not (job.extras.check_values and series and built.eval_dataset) or stop():
        return
    if plan.hardware.sharding.zero_stage == 3 or plan.hardware.sharding.shards_base:
        recorder.unchecked = Unchecked.SHARDED
        return
    if distributed.is_main():
        # The run is over and its weights are saved: nothing that fails here may fail the run.
        failures = (torch.OutOfMemoryError, TsplannerError)
        with recorder.pulse.during(Phase.EVALUATE), suppress(*failures):
            step = take_best(built, job, recorder)
            tokenizer = model.load_tokenizer(plan.model)
            count = len(built.train_dataset) - built.padding_samples + len(built.eval_dataset)
            rows = data.held_out_rows(plan, tokenizer, built.model.config, count)
            asked = answers.questions(rows)
            first = next(asked, None)
            values = first and answers.values_checked(
                chain([first], asked),
                answers.Answerer(built.model, tokenizer, built.accelerator.autocast),
                folder=Path(job.folder),
                # The other processes wait below, so nothing may be asked of them here.
                stop=stop.asked,
                beat=recorder.pulse.beat,
            )
            recorder.values = replace(values, step=step) if values else None
            missed = first is not None and values is None and not stop.asked()
            recorder.unchecked = Unchecked.NO_TIME if missed else None
    # Nobody leaves while another process may still wait for it.
    distributed.barrier()


def take_best(built: Any, job: Job, recorder: Recorder) -> int:
    """Take the weights of the best evaluation where they can be read back; the step they are of.

    Whole models stay as they are, and so does AdaLoRA, whose ranks differ from step to step.
    """
    best, last = recorder.best_evaluation, int(built.state.global_step)
    method = job.plan.learning.method.finetuning_type
    adapter = method.uses_adapter and method is not FinetuningType.ADALORA
    if best is None or best.step == last or not adapter:
        return last
    saving.read_adapter(built.model, Path(job.folder) / saving.weights_folder(job.plan))
    return best.step


def device_name(device: torch.device) -> str:
    """The GPU's name, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _die_with_parent() -> None:
    """End this process when its parent has ended, since nobody would read the result."""
    parent = os.getppid()

    def watch() -> None:
        # The kernel's death signal is no help here: it fails for a child that a thread has started.
        while os.getppid() == parent:
            time.sleep(PARENT_CHECK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()
