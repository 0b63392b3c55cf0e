"""Random asks of a search on a small card, and what the search says of each."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.plan_quality.regret_grids import Grid, card, request_of
from memory_models.device import Machine
from memory_models.estimate import estimate_memory
from memory_models.settings import (
    FinetuningType,
    LossKernel,
    Quantization,
    TrainingSettings,
    changed,
)
from memory_models.units import GIB
from tsplanner.errors import TsplannerError
from tsplanner.planner.advice import with_rank
from tsplanner.planner.multi_lora.refusal import sharing_refusal
from tsplanner.planner.multi_lora.speedup import sharing_candidates
from tsplanner.planner.plan import Plan
from tsplanner.planner.rank import choose
from tsplanner.planner.request import Pins
from tsplanner.planner.settings import training_settings
from tsplanner.tune.runner.feasible import feasible_under
from tsplanner.tune.runner.slots import Slots

MODELS = (
    "qwen2.5-0.5b",
    "qwen3-0.6b",
    "llama-3.2-1b",
    "gemma-3-1b",
    "qwen2.5-1.5b",
    "qwen3-1.7b",
    "gemma-2-2b",
    "llama-3.2-3b",
    "phi-4-mini",
    "qwen3-4b",
    "mistral-7b",
    "qwen2.5-7b",
    "llama-3.1-8b",
    "qwen3-8b",
    "chatts-8b",
)
CAPS_GIB = (16, 24, 48)
METHODS = {"lora": 55, "rslora": 10, "dora": 8, "adalora": 7, "full": 12, "freeze": 8}
LENGTHS = (256, 512, 512, 1024, 1024, 2048, 4096)
BATCHES = (2, 4, 8, 16, 16)
RANKS = (4, 8, 16, 32, 64, 128, 256, 512)
PACK_SHARE = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One line of the cases."""

    model: str
    method: str
    cap_gib: int
    cutoff_len: int
    batch: int
    rank: int
    learning_rate: float
    epochs: int
    quantization: str | None = None
    packed_ranks: tuple[int, ...] = ()
    """Ranks of a pack's trials; empty: one trial."""
    micro_batch: int | None = None
    """Of a pack."""
    checkpointing: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An ask with what the search says of it."""

    ask: Ask
    plan: Plan
    """What is run; of a pack the plan of its pass."""
    upper_bytes: int
    admitted: bool

    @property
    def ratio(self) -> float:
        """Upper bound over the card."""
        return self.upper_bytes / (self.ask.cap_gib * GIB)


def base_plan(ask: Ask, machine: Machine | None = None) -> Plan:
    """What ``plan`` picks on that card; raises TsplannerError if nothing fits."""
    grid = Grid(ask.model, ask.cutoff_len, FinetuningType(ask.method))
    request = request_of(grid, ask.cap_gib)
    learning = changed(
        request.learning, effective_batch_size=ask.batch, lora_rank=8, num_train_epochs=3
    )
    pins = Pins()
    if ask.quantization:
        pins = Pins(quantization=Quantization(ask.quantization))
    here = machine or card(ask.cap_gib)
    return choose(replace(request, learning=learning, pins=pins, machine=here)).plan


def asked(ask: Ask, plan: Plan) -> Asked:
    """What the search says; raises ValueError for an ask that no trial can be."""
    if ask.packed_ranks:
        return asked_pack(ask, plan)
    learning = with_rank(plan.learning, ask.rank)
    learning = changed(
        learning, learning_rate=ask.learning_rate, num_train_epochs=ask.epochs, lora_alpha=None
    )
    over, planned = feasible_under(plan, Slots(jobs=1))(learning)
    if planned.learning != learning:
        raise ValueError("these settings cannot run")
    upper = planned.memory.process_bytes.upper
    return Asked(ask=ask, plan=planned, upper_bytes=upper, admitted=over <= 0)


def asked_pack(ask: Ask, plan: Plan) -> Asked:
    """The same of several trials in one process, by the bound that the search keeps."""
    settings = next(
        found
        for found in sharing_candidates(solo_settings(plan), ask.packed_ranks)
        if len(found.method.adapter_ranks) == len(ask.packed_ranks)
        and found.batch.micro_batch_size == ask.micro_batch
        and found.batch.gradient_checkpointing == ask.checkpointing
    )
    architecture = plan.architecture
    upper = estimate_memory(architecture, settings, plan.machine.devices[0]).process_bytes.upper
    hardware = changed(
        plan.hardware,
        micro_batch_size=settings.batch.micro_batch_size,
        gradient_accumulation_steps=settings.batch.gradient_accumulation_steps,
        gradient_checkpointing=settings.batch.gradient_checkpointing,
        checkpointed_layers=None,
        loss_kernel=LossKernel.FUSED,
    )
    admitted = upper <= plan.free_bytes
    return Asked(
        ask=ask, plan=replace(plan, hardware=hardware), upper_bytes=upper, admitted=admitted
    )


def solo_settings(plan: Plan) -> TrainingSettings:
    """A trial of the plan as the estimator sees it."""
    dataset, hardware = plan.dataset, plan.hardware
    length = dataset.longest_of(hardware.batch)
    return training_settings(plan.learning, hardware, length, dataset.series_patches(length))


def drawn(dice: random.Random) -> Iterator[Asked]:
    """Random asks without end."""
    while True:
        first = Ask(
            model=dice.choice(MODELS),
            method=dice.choices(list(METHODS), list(METHODS.values()))[0],
            cap_gib=dice.choice(CAPS_GIB),
            cutoff_len=dice.choice(LENGTHS),
            batch=dice.choice(BATCHES),
            rank=dice.choice(RANKS),
            learning_rate=float(f"{1e-4 * 10 ** dice.uniform(-1, 1.5):.3g}"),
            epochs=dice.choice((1, 2, 3)),
        )
        if first.method in ("lora", "rslora") and dice.random() < 0.2:
            first = replace(first, quantization="nf4")
        try:
            plan = base_plan(first)
        except (TsplannerError, ValueError):
            continue
        if dice.random() < PACK_SHARE and not sharing_refusal(
            plan.learning, plan.hardware, plan.model.config
        ):
            first = packed(dice, first)
        try:
            yield asked(first, plan)
        except (ValueError, StopIteration):
            continue


def packed(dice: random.Random, ask: Ask) -> Ask:
    """Several trials of usual ranks, by some micro-batch."""
    divisors = [size for size in range(1, ask.batch + 1) if ask.batch % size == 0]
    return replace(
        ask,
        packed_ranks=tuple(sorted(dice.choice(RANKS[1:6]) for _ in range(dice.randint(2, 8)))),
        micro_batch=dice.choice(divisors[:3]),
        checkpointing=dice.random() < 0.4,
    )
