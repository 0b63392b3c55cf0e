"""Traces small models and runs them for real on the CPU; prints the bytes of both as JSON."""

from __future__ import annotations

import gc
import json
import os
import sys
from contextlib import nullcontext
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.collect.family_configs import tiny_config
from memory_models.settings import (
    Attention,
    Dtype,
    FinetuningType,
    LossKernel,
    Optimizer,
    TrainingSettings,
    from_flat,
)
from tsplanner.tracing.fake_cuda.optimizers import optimizer_for
from tsplanner.tracing.fake_cuda.storages import StorageLog
from tsplanner.tracing.fake_cuda.tensors import TraceMode
from tsplanner.tracing.fake_cuda.workspaces import WORKSPACES
from tsplanner.tracing.model import build
from tsplanner.tracing.records import Subject
from tsplanner.tracing.step import Step
from tsplanner.tracing.trace import prepared, run_once
from tsplanner.training.batches import longest_batch

ROWS, LENGTH = 2, 96
CONFIG = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 320,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 700,
    "max_position_embeddings": 512,
}


class NoMode(nullcontext[None]):
    """Lets a step run as it is; what it notes goes nowhere."""

    storages = StorageLog()


def settings_of(changes: dict[str, Any]) -> TrainingSettings:
    """The settings of one recipe."""
    return from_flat(
        TrainingSettings,
        model_dtype=Dtype.FP32,
        autocast=None,
        attention=Attention.EAGER,
        sequence_length=LENGTH,
        micro_batch_size=ROWS,
        optimizer=Optimizer.ADAMW_TORCH,
        finetuning_type=FinetuningType(changes.get("finetuning_type", "lora")),
        loss_kernel=LossKernel(changes.get("loss_kernel", "plain")),
        gradient_checkpointing=changes.get("gradient_checkpointing", True),
        gradient_accumulation_steps=changes.get("gradient_accumulation_steps", 1),
    )


def highest(changes: list[int]) -> tuple[int, int]:
    """The highest running sum, and the last one."""
    now = peak = 0
    for change in changes:
        now += change
        peak = max(peak, now)
    return peak, now


def traced(subject: Subject, settings: TrainingSettings) -> tuple[int, int]:
    """What the trace says of it."""
    storages = StorageLog()
    WORKSPACES.clear()  # CUDA's kernels take them and the CPU's do not
    step = prepared(build(subject, settings, 3), settings, TraceMode(storages))
    loaded = len(storages.events)
    run_once(step)
    events = storages.events[loaded:]
    return highest([size or -storages.known[number].bytes for number, size in events])


def real(subject: Subject, settings: TrainingSettings) -> tuple[int, int]:
    """What a real run on the CPU takes."""
    model = build(subject, settings, 3).to_empty(device="cpu")
    if model.config.tie_word_embeddings:
        model.tie_weights()  # to_empty gives each of the two a storage of its own
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.fill_(0.01)
    step = Step(
        model=model,
        optimizer=optimizer_for(settings.kernels.optimizer, model),
        settings=settings,
        batch=longest_batch(model.config, micro_batch_size=ROWS, sequence_length=LENGTH),
        mode=NoMode(),  # type: ignore[arg-type]
    )
    gc.collect()
    gc.disable()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step.run()
    gc.enable()
    events = profiler.profiler.kineto_results.events()
    memory = sorted(
        (event for event in events if event.name() == "[memory]"), key=lambda e: e.start_ns()
    )
    return highest([event.nbytes() for event in memory])


def without_dropout(config: dict[str, Any]) -> dict[str, Any]:
    """The same config without dropout, of which the CPU keeps fp32 noise and CUDA a byte."""
    dropped = {key for key in config if "dropout" in key or key.endswith("_pdrop")}
    return {key: 0.0 if key in dropped else value for key, value in config.items()}


def main() -> None:
    """Print both as JSON; a case may name a family, which then is tiny."""
    torch.set_num_threads(1)
    found = {}
    for name, changes in json.loads(sys.argv[1]).items():
        config = {**CONFIG, "tie_word_embeddings": changes.get("tied", False)}
        if "family" in changes:
            config = without_dropout(tiny_config(changes["family"]))
        subject, settings = Subject(config=config), settings_of(changes)
        peak, left = traced(subject, settings)
        real_peak, real_left = real(subject, settings)
        found[name] = {
            "traced_peak": peak,
            "traced_left": left,
            "real_peak": real_peak,
            "real_left": real_left,
        }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
