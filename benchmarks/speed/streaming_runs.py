"""The runs of ``streaming.py``: which bars they are for, and what is foretold of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from memory_models.settings import Dtype, LossKernel, Quantization
from memory_models.units import GIB, MIB
from tsplanner.models.source import read_model
from tsplanner.planner.evaluate import Evaluated, evaluate, rates_for
from tsplanner.planner.gather.requests import Subject, plan_request
from tsplanner.planner.plan import Plan
from tsplanner.planner.rank import choose
from tsplanner.planner.request import Pins, PlanRequest
from tsplanner.throughput.step_parts import StepTime

CONTEXT_BYTES = 770 * MIB
"""What the driver charges to a process beyond its allocator, which a real card has to hold too."""
SHAPES = {
    "tiny": "smollm2-135m",
    "0.5b": "qwen2.5-0.5b",
    "1.5b": "qwen2.5-1.5b",
    "7b": "qwen2.5-7b",
    "8b": "qwen3-8b",
    "14b": "qwen2.5-14b",
    "32b": "qwen2.5-32b",
    "72b": "qwen2.5-72b",
}
ON_GPU = {"streamed_layers": 0, "zero_stage": 0}
HOST, DEVICE = {"inputs_on_device": 0}, {"inputs_on_device": None}
FP16 = {"model_dtype": Dtype.FP16}
FP8 = {"quantization": Quantization.FP8}


@dataclass(frozen=True)
class Run:
    """One run: what is pinned, and the memory that a card of its cap would have."""

    name: str
    bar: str
    shape: str = "14b"
    cap_gib: int | None = None
    pins: dict[str, Any] = field(default_factory=dict)
    micro_batches: int = 8
    tokens: int = 4096
    steps: int = 3
    layers: int | None = None
    """Streamed layers; None: all of the shape, or as few as the cap has room for."""
    fewest: bool = False
    """Stream as few layers as the cap has room for, as ``plan`` does."""
    link: float | None = None
    """GB/s that the weights of streamed layers are slowed down to; None: as fast as the link is."""
    from_files: bool = False
    """Weights come from a folder that is written first; else they are random."""


def _bytes() -> Iterator[Run]:
    """Bar ``bytes``: storage, shapes, layers, places of inputs and groups of passes."""
    forms: tuple[Quantization | None, ...] = (None, *Quantization)
    for place, form in enumerate(forms):
        for shape, layers, tokens in (("0.5b", 24, 1024), ("1.5b", 20, 2048), ("7b", 28, 1024)):
            host = HOST if (place + layers) % 3 else DEVICE
            yield Run(
                f"bytes-{shape}-{form or 'bf16'}",
                "bytes",
                shape=shape,
                layers=layers,
                tokens=tokens,
                micro_batches=4,
                pins={**host, "quantization": form, "micro_batch_size": 1 + place % 2},
            )
    more: tuple[tuple[str, dict[str, Any]], ...] = (
        ("fp16", {**HOST, **FP16}),
        ("groups", {**HOST, "passes_together": 2}),
        ("packed", {**HOST, "token_budget": 4096, "micro_batch_size": 1}),
        ("packed-device", {**DEVICE, "token_budget": 2048, "micro_batch_size": 1}),
    )
    for name, pins in more:
        for shape, layers in (("1.5b", 28), ("7b", 14)):
            yield Run(
                f"bytes-{shape}-{name}",
                "bytes",
                shape=shape,
                layers=layers,
                tokens=1024,
                micro_batches=4,
                pins=pins,
            )


def _links(bar: str, shape: str) -> Iterator[Run]:
    """A shape at the link's own rate, which is the probe of the others, and at lower ones."""
    yield Run(f"{bar}-free", bar, shape=shape, pins=HOST)
    for rate in (25.0, 12.0, 6.0, 3.0):
        yield Run(f"{bar}-{rate}", bar, shape=shape, pins=HOST, link=rate, steps=2)


RUNS: tuple[Run, ...] = (
    Run("resident", "speed", pins=ON_GPU, from_files=True),
    Run("resident-fp16", "speed", pins={**ON_GPU, **FP16}, from_files=True),
    Run("streamed-8", "speed", cap_gib=8, pins=HOST, from_files=True),
    Run("streamed-fp16-8", "speed", cap_gib=8, pins={**HOST, **FP16}, from_files=True),
    Run("streamed-11-fewest", "speed", cap_gib=11, pins=HOST, fewest=True, from_files=True),
    Run("streamed-beside-zero3", "zero3", cap_gib=8, pins=HOST),
    Run("zero3-offload", "zero3", pins={"zero_stage": 3, "offload_param": True}, steps=2),
    Run("resident-32b", "large", shape="32b", pins=ON_GPU, micro_batches=4, steps=2),
    Run(
        "streamed-32b-16",
        "large",
        shape="32b",
        cap_gib=16,
        pins=HOST,
        micro_batches=4,
        steps=2,
    ),
    Run("resident-72b-fp8", "large", shape="72b", pins={**ON_GPU, **FP8}, micro_batches=4, steps=2),
    Run(
        "streamed-72b-24-fp8",
        "large",
        shape="72b",
        cap_gib=24,
        micro_batches=4,
        pins={**HOST, **FP8},
        steps=2,
    ),
    *_bytes(),
    *_links("link", "1.5b"),
    *_links("link-7b", "7b"),
    *_links("link-8b", "8b"),
    *(
        Run(
            name,
            "losses",
            shape="1.5b",
            pins=pins,
            tokens=512,
            micro_batches=4,
            steps=50,
            from_files=True,
        )
        for name, pins in (("losses-resident", ON_GPU), ("losses-streamed", HOST))
    ),
    # Some inputs stay: as many as the cap surely has room for beside two layers' weights, and an
    # uneven share of uneven passes.
    Run("inputs-14b-14", "inputs", cap_gib=14, pins={"inputs_on_device": 20}, steps=2),
    Run(
        "inputs-7b-nf4",
        "inputs",
        shape="7b",
        layers=14,
        tokens=2048,
        micro_batches=5,
        pins={"inputs_on_device": 9, "quantization": Quantization.NF4},
    ),
    Run("start", "start", cap_gib=8, pins=HOST, steps=1, from_files=True),
)
BARS = tuple(dict.fromkeys(run.bar for run in RUNS))


def tiny(run: Run) -> Run:
    """The same run small enough for a CPU, which tries the script."""
    fewer = {} if run.layers is None else {"layers": min(run.layers, 24)}
    return replace(
        run,
        shape="tiny",
        tokens=64,
        micro_batches=4,
        steps=min(run.steps, 3),
        cap_gib=None,
        **fewer,
    )


def request_of(run: Run, weights: Path | None, folder: Path, machine: str | None) -> PlanRequest:
    """What is asked of the planner: the run's shape on ``machine``; None: on this one."""
    pins = {
        "micro_batch_size": 1,
        "gradient_checkpointing": True,
        "checkpointed_layers": None,
        "loss_kernel": LossKernel.FUSED,
        "quantization": None,
        **run.pins,
    }
    if "streamed_layers" not in pins and "zero_stage" not in pins:
        layers = read_model(SHAPES[run.shape]).architecture.num_hidden_layers
        pins["streamed_layers"] = min(run.layers or layers, layers)
    subject = Subject(
        model=str(weights) if weights and run.from_files else SHAPES[run.shape],
        learning={"cutoff_len": run.tokens, "effective_batch_size": run.micro_batches},
        pins=Pins(**pins),
        machine=machine,
    )
    return plan_request(subject, folder)


def as_slowed(run: Run, request: PlanRequest, best: Evaluated) -> StepTime:
    """The forecast of a run whose weights come at its ``link``; layer inputs are not slowed down."""
    if run.link is None:
        return best.time
    slower = rates_for(request, best.hardware).links.pinned / (1e9 * run.link)
    link = best.time.link
    return replace(best.time, link=replace(link, weights=link.weights * slower))


def foretold(run: Run, request: PlanRequest) -> tuple[Plan, Evaluated]:
    """The plan of a run, with as few streamed layers as its cap has room for if it says so."""
    number = request.pins.get("streamed_layers")
    room = None if run.cap_gib is None else run.cap_gib * GIB - CONTEXT_BYTES
    while run.fewest and room is not None and number > 1:
        fewer = replace(request, pins=request.pins.with_(streamed_layers=number - 1))
        hardware = choose(fewer).plan.hardware
        if evaluate(fewer, hardware).memory.peak_reserved_bytes.upper > room:
            break
        request, number = fewer, number - 1
    found = choose(request)
    return found.plan, found.best


def told(run: Run, request: PlanRequest, plan: Plan, best: Evaluated) -> dict[str, Any]:
    """What is foretold of a run."""
    time = as_slowed(run, request, best)
    return {
        "run": run.name,
        "bar": run.bar,
        "machine": plan.machine.name,
        "streaming": msgspec.to_builtins(plan.hardware.streaming),
        "base": msgspec.to_builtins(plan.hardware.base),
        "step_seconds": time.seconds,
        "time": msgspec.to_builtins(time),
        "cap_gib": run.cap_gib,
        "memory": {
            name: msgspec.to_builtins(getattr(plan.memory, name))
            for name in ("peak_allocated_bytes", "peak_reserved_bytes", "host_bytes")
        },
    }
