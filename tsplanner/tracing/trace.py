"""Memory of a training step from a run without values."""

from __future__ import annotations

import gc
import time
from importlib import metadata
from typing import Any

from memory_models.allocator.caching_allocator import simulate
from memory_models.settings import Attention, TrainingSettings
from tsplanner.tracing.client import refuse
from tsplanner.tracing.fake_cuda.attention import cuda_attention
from tsplanner.tracing.fake_cuda.cuda_rules import (
    cuda_autocast_answers,
    cuda_dropout,
    cuda_eight_bit,
    cuda_norm,
    cuda_pieces,
    use_cuda_casts,
)
from tsplanner.tracing.fake_cuda.hybrid_kernels import (
    assumption,
    chosen_packages,
    hybrid_kernels,
)
from tsplanner.tracing.fake_cuda.optimizers import optimizer_for
from tsplanner.tracing.fake_cuda.shapes import drop_values
from tsplanner.tracing.fake_cuda.storages import Kind, StorageLog
from tsplanner.tracing.fake_cuda.tensors import TraceMode
from tsplanner.tracing.model import build, is_adapter, parameter_counts
from tsplanner.tracing.records import Trace, TraceRequest
from tsplanner.tracing.replay import alive_at, by_kind, largest, several_steps
from tsplanner.tracing.step import Step
from tsplanner.tracing.streamed import layer_major
from tsplanner.training.base_model.configuration import runs_eager
from tsplanner.training.batches import longest_batch

PROBE_STEPS = 3
"""Steps of the run, for AdaLoRA's schedule; the memory does not depend on this number."""
NAMED_PACKAGES = ("torch", "transformers", "peft", "accelerate")


def trace_memory(request: TraceRequest) -> Trace:
    """Trace one case.

    Raises:
        TsplannerError: the case cannot be traced (see ``refuse``), or the model looks at values.
    """
    began = time.monotonic()
    settings = request.settings
    refuse(settings)
    use_cuda_casts()
    model = build(request.subject, settings, PROBE_STEPS)
    total, trained = parameter_counts(model)
    storages = StorageLog()
    step = prepared(model, settings, TraceMode(storages, request.workspace_bytes))
    loaded = len(storages.events)
    fused = chosen_packages(request.hybrid_kernels)
    persistent = run_once(step, fused)
    count = len(storages.known)
    events = several_steps(storages.events[:loaded], storages.events[loaded:], count)
    found = simulate(events)
    alive = alive_at(events, found.peak_event)
    # Later steps repeat the numbers of the first step, moved on by multiples of `count`.
    at_peak = [(storages.known[number % count], size) for number, size in alive.items()]
    last = storages.known[events[found.peak_event][0] % count]
    return Trace(
        parameters_total=total,
        parameters_trainable=trained,
        persistent_bytes=persistent,
        peak_allocated_bytes=found.peak_allocated,
        peak_reserved_bytes=found.peak_reserved,
        peak_instant=last.phase.value,
        components=by_kind(at_peak),
        alive=largest(at_peak),
        seconds=time.monotonic() - began,
        versions={name: metadata.version(name) for name in NAMED_PACKAGES},
        notes=notes(model, settings, fused),
    )


def notes(model: Any, settings: TrainingSettings, fused: frozenset[str]) -> tuple[str, ...]:
    """What a trace took for granted about a model's code, as clauses."""
    found = [assumption(model, fused)]
    if settings.kernels.attention is Attention.SDPA and runs_eager(model):
        found.append("this model's code runs no sdpa attention: eager is used")
    return tuple(filter(None, found))


def prepared(model: Any, settings: TrainingSettings, mode: TraceMode) -> Step:
    """The model without values, its optimizer and a batch, ready to run."""
    drop_values(model)
    streaming = settings.streaming
    major = layer_major(model, streaming, mode.storages) if streaming.streams else None
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        mode.storages.follow(tensor, name, Kind.ADAPTERS if is_adapter(name) else Kind.WEIGHTS)
    batch = longest_batch(
        model.config,
        micro_batch_size=settings.batch.micro_batch_size,
        sequence_length=settings.sequence_length,
    )
    return Step(
        model=model,
        optimizer=optimizer_for(settings.kernels.optimizer, model),
        settings=settings,
        batch=batch,
        mode=mode,
        layer_major=major,
    )


def run_once(step: Step, fused: frozenset[str] = frozenset()) -> int:
    """Run one step, and return the bytes that are alive after it.

    ``fused``: packages whose kernels run the state-space and linear-attention layers.
    """
    storages = step.storages
    # The garbage collector frees cycles at no fixed time, so a real run cannot rely on it either.
    gc.disable()
    try:
        with (
            cuda_attention(),
            cuda_dropout(),
            cuda_norm(),
            cuda_pieces(),
            cuda_eight_bit(),
            cuda_autocast_answers(),
            hybrid_kernels(step.model, fused),
        ):
            step.run()
    finally:
        gc.enable()
    storages.name_survivors(Kind.STATES)
    left = storages.alive_bytes()
    gc.collect()
    return left
