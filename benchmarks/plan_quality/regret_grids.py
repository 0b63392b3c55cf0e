"""The grids that regret is measured on: models, lengths, methods, and their candidates."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from memory_models.device import Device, Host, LinkType, Machine
from memory_models.settings import FinetuningType, flat, from_flat
from memory_models.states.adapters import trainable_parameters
from memory_models.states.weights import total_parameters
from memory_models.units import GIB
from tsplanner.errors import NoPlanFits
from tsplanner.hardware.describe import parse_gpus
from tsplanner.models.source import read_model
from tsplanner.planner.evaluate import Evaluated, evaluate
from tsplanner.planner.gather.cases import case_keys, case_settings
from tsplanner.planner.plan import ModelRef, no_dataset
from tsplanner.planner.rank import choose
from tsplanner.planner.request import Pins, PlanRequest
from tsplanner.planner.settings import (
    HardwareSettings,
    LearningSettings,
    split_settings,
    training_settings,
)
from tsplanner.planner.space.candidates import candidates
from tsplanner.planner.space.rules import refusal

CAPS_GIB = (11, 16, 24, 48, 80)
SLOWER, LARGER = 1.4, 1.1
"""A candidate this much slower and larger than another, as predicted, is not run."""
NEAR = 1.05
"""A streamed candidate this close to the fastest one under a cap, as predicted, is run."""
STEPS, MICRO_BATCHES = 3, 2
OVERHEAD_SECONDS = 1.0


@dataclass(frozen=True)
class Grid:
    """What is trained, and how long its sequences are."""

    model: str
    length: int
    method: FinetuningType = FinetuningType.LORA
    gpus: int = 1

    @property
    def name(self) -> str:
        """For tables."""
        several = f" x{self.gpus}" if self.gpus > 1 else ""
        return f"{self.model} {self.method} {self.length}{several}"


GRIDS = (
    Grid("qwen2.5-0.5b", 512),
    Grid("qwen2.5-0.5b", 2048),
    Grid("qwen2.5-0.5b", 8192),
    Grid("llama-3.2-1b", 1024),
    Grid("llama-3.2-1b", 1024, FinetuningType.FULL),
    Grid("qwen2.5-1.5b", 4096),
    Grid("qwen2.5-3b", 2048),
    Grid("qwen3-4b", 512),
    Grid("qwen3-4b", 4096),
    Grid("qwen2.5-7b", 512),
    Grid("qwen2.5-7b", 2048),
    Grid("mistral-7b", 1024),
    Grid("qwen2.5-14b", 512),
    Grid("qwen2.5-14b", 4096),
    *(
        Grid(model, length, gpus=2)
        for model, length in (
            ("qwen2.5-0.5b", 2048),
            ("llama-3.2-1b", 1024),
            ("qwen2.5-1.5b", 4096),
            ("qwen2.5-3b", 2048),
            ("qwen3-4b", 512),
            ("qwen3-4b", 4096),
            ("qwen2.5-7b", 512),
            ("qwen2.5-7b", 2048),
        )
    ),
)


def card(cap_gib: int, *, compiler: bool = True, gpus: int = 1) -> Machine:
    """H200s with no more memory than that each; ``compiler``: with Triton."""
    h200: Device = replace(parse_gpus("H200")[0], total_bytes=cap_gib * GIB)
    h200 = replace(h200, free_bytes=cap_gib * GIB)
    host = Host(total_bytes=256 * GIB, available_bytes=240 * GIB, cpu_count=16)
    packages = ("bitsandbytes", "triton") if compiler else ("bitsandbytes",)
    link = LinkType.NVLINK if gpus > 1 else None
    return Machine(name="h200", devices=(h200,) * gpus, host=host, packages=packages, link=link)


def request_of(grid: Grid, cap_gib: int, *, compiler: bool = True) -> PlanRequest:
    """What the planner is asked; before compiled kernels it was asked without a ``compiler``.

    No layer was streamed then, either.
    """
    source = read_model(grid.model)
    learning = from_flat(LearningSettings, finetuning_type=grid.method, cutoff_len=grid.length)
    settings = training_settings(learning, HardwareSettings(), 16)
    return PlanRequest(
        architecture=source.architecture,
        model=ModelRef(
            name=grid.model,
            path=None,
            model_type=source.architecture.model_type,
            parameters_total=total_parameters(source.architecture),
            parameters_trainable=trainable_parameters(source.architecture, settings.method),
            config=source.config,
            architecture=source.architecture,
        ),
        dataset=no_dataset(grid.length),
        machine=card(cap_gib, compiler=compiler, gpus=grid.gpus),
        learning=learning,
        # No grid has runs with checkpoints of some layers only, or with weights in files. Their
        # quantised bases were measured with the unquantised parts in fp32.
        pins=Pins(
            checkpointed_layers=None,
            upcast_unquantized=True,
            stream_from_files=False,
            **({} if compiler else {"streamed_layers": 0}),
            **({"world_size": grid.gpus} if grid.gpus > 1 else {}),
        ),
    )


def everybody(request: PlanRequest) -> list[Evaluated]:
    """All candidates that no rule refuses, the quantised ones too."""
    return [
        evaluate(request, hardware)
        for hardware in candidates(request)
        if refusal(request, hardware) is None
    ]


def hopeless(found: Evaluated, others: Iterable[Evaluated]) -> bool:
    """Another of the same base is predicted to be far faster and far smaller."""
    return any(
        other.hardware.base.quantization == found.hardware.base.quantization
        and other.samples_per_second > SLOWER * found.samples_per_second
        and LARGER * other.memory.process_bytes.expected < found.memory.process_bytes.expected
        for other in others
    )


def worth_running(grid: Grid) -> list[Evaluated]:
    """Candidates of a grid that are run: quantised and streamed ones where a cap may call for them."""
    request = request_of(grid, 139)
    most = 1.12 * CAPS_GIB[-1] * GIB
    found = [
        one
        for one in everybody(request)
        if one.memory.process_bytes.expected < most and not one.hardware.streaming.streams
    ]
    plain = [one for one in found if one.hardware.base.quantization is None]
    smallest = min(one.memory.process_bytes.expected for one in plain)
    calls = smallest > 0.85 * CAPS_GIB[0] * GIB
    largest_call = max(cap for cap in (0, *CAPS_GIB) if smallest > 0.85 * cap * GIB)
    pool = [
        one
        for one in found
        if one.hardware.base.quantization is None
        or (calls and one.memory.process_bytes.expected < 1.2 * largest_call * GIB)
    ]
    kept = [one for one in pool if not hopeless(one, pool)]
    return list({one.hardware: one for one in (*kept, *chosen_under_caps(grid))}.values())


def chosen_under_caps(grid: Grid) -> Iterator[Evaluated]:
    """What the planner chooses for each cap, and how near it others stream: as few layers as fit."""
    for cap in CAPS_GIB:
        try:
            choice = choose(request_of(grid, cap))
        except NoPlanFits:
            continue
        yield choice.best
        for one in choice.evaluated:
            if (
                one.hardware.streaming.streams
                and one.memory.process_bytes.expected < cap * GIB
                and one.samples_per_second > choice.best.samples_per_second / NEAR
            ):
                yield one


def case_of(grid: Grid, hardware: HardwareSettings) -> dict[str, Any]:
    """A candidate as a case for ``measure_steps.py``."""
    learning = from_flat(LearningSettings, finetuning_type=grid.method, cutoff_len=grid.length)
    settings = training_settings(learning, hardware, grid.length)
    plain, given = flat(type(settings)()), flat(settings)
    changed = {key: given[key] for key in case_keys() & given.keys() if given[key] != plain[key]}
    return {"model": grid.model, "sequence_length": grid.length, **changed}


def gpu_seconds(found: Evaluated) -> float:
    """Roughly what one case costs."""
    share = min(1.0, MICRO_BATCHES / found.hardware.batch.gradient_accumulation_steps)
    return OVERHEAD_SECONDS + STEPS * found.time.seconds * share


Table = dict[HardwareSettings, dict[str, Any]]


def tables(paths: Iterable[Path]) -> dict[Grid, Table]:
    """What was measured, by grid and candidate, of the grids of which a file has every case."""
    found: dict[Grid, Table] = {grid: {} for grid in GRIDS}
    cut_short: set[Grid] = set()
    for path in paths:
        of_file: dict[Grid, Table] = {grid: {} for grid in GRIDS}
        cut_here: set[Grid] = set()
        for row in json.loads(path.read_text())["cases"]:
            case = row["case"]
            settings = case_settings(case)
            grid = Grid(
                case["model"],
                settings.sequence_length,
                settings.method.finetuning_type,
                settings.sharding.world_size,
            )
            hardware = split_settings(settings)[1]
            if grid not in found or hardware.effective_batch_size != 16:
                continue
            measured = row.get("measured", {})
            if not measured:
                cut_here.add(grid)
            # Files of today keep what a record does, by subject.
            measured = {**measured, **measured.get("memory", {}), **measured.get("timing", {})}
            if measured.get("status") in ("ok", "device_oom"):
                of_file[grid][hardware] = measured
        for grid in GRIDS:
            found[grid] |= of_file[grid] if grid not in cut_here else {}
        cut_short |= cut_here
    for grid in GRIDS:
        if grid in cut_short and not found[grid]:
            print(f"{grid.name:28s} left out: time was up before all of its cases had run")
    return {grid: table for grid, table in found.items() if table}
