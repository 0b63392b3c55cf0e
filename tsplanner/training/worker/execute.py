"""Jobs from job.json to record.json, inside a worker process.

Probe, trial and full run are this one path; they differ in their data, their evaluations and in
what they keep. Whatever happens, one record.json says how it ended, unless the process was killed.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import torch
from transformers import set_seed

from memory_models.settings import FinetuningType
from tsplanner.errors import TsplannerError
from tsplanner.runs import DiskError
from tsplanner.training import answers, data, distributed
from tsplanner.training.base_model.build import training_device
from tsplanner.training.base_model.tokenizer import load_tokenizer
from tsplanner.training.job import CANNOT_WRITE, Job, JobKind, Status
from tsplanner.training.kernels.attention_backend import choose_attention_backend
from tsplanner.training.memory import MemoryMeter, limit_allocator
from tsplanner.training.multi_lora import loop
from tsplanner.training.pulse import Phase
from tsplanner.training.record import Unchecked
from tsplanner.training.solo import saving, trainer
from tsplanner.training.solo.recorder import Recorder
from tsplanner.training.worker.base_model_cache import KeptBase
from tsplanner.training.worker.build import build_trainer
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
    device = training_device(plan.hardware)
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
            tokenizer = load_tokenizer(plan.model)
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
