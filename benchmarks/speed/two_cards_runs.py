"""The runs of ``two_cards.py``: what each one pins, and what is foretold of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.collect.whole_runs import TOKENIZER, write_rows
from memory_models.settings import (
    DecoderKernels,
    Dtype,
    FinetuningType,
    LossKernel,
    Quantization,
    changed,
)
from tsplanner.datasets.records import DataSource
from tsplanner.models.source import read_model
from tsplanner.planner.gather.requests import Liberty, Subject, plan_request
from tsplanner.planner.plan import Plan
from tsplanner.planner.rank import choose
from tsplanner.planner.request import Pins

MACHINE = "2x-h200-141gib"
LAYERS = 4
"""Of a shape that memory is measured on: a layer more adds the same bytes again."""
DDP, FSDP = {"world_size": 2, "zero_stage": 0}, {"world_size": 2, "zero_stage": 0, "fsdp": True}
ALONE = {"world_size": 1, "zero_stage": 0}
NF4, NF4_DQ, FP8 = Quantization.NF4, Quantization.NF4_DQ, Quantization.FP8
REFERENCE, FUSED, COMPILED = (
    DecoderKernels.REFERENCE,
    DecoderKernels.FUSED,
    DecoderKernels.COMPILED,
)
SKEWED = {"lengths": "skewed", "rows": 1024, "rows_of": "two cards"}
"""Log-normal lengths up to 2,048 tokens, of which a few are long."""


@dataclass(frozen=True)
class Run:
    """One run: its shape, its settings, and the rows that it trains on."""

    name: str
    part: str
    model: str
    layers: int | None = None
    """Of the shape; None: all that it has."""
    pins: dict[str, Any] = field(default_factory=dict)
    learning: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, Any] | None = None
    """None: micro-batches or passes as long as they can be, as a probe makes them."""
    steps: int = 3
    cap_gib: int | None = None
    """Memory of a card that is stood in for."""
    seconds: float = 60.0
    """After so many it is ended."""

    @property
    def ranks(self) -> int:
        """Processes, one a GPU."""
        return int(self.pins["world_size"])


MODELS = (
    "qwen2.5-7b",
    "llama-3.1-8b",
    "qwen3-8b",
    "mistral-7b",
    "llama-3.2-1b",
    "qwen2.5-14b",
    "gemma-3-1b",
    "phi-4-mini",
    "olmo-2-7b",
    "granite-3.3-8b",
    "qwen2.5-0.5b",
    "smollm3-3b",
    "mistral-nemo-12b",
    "glm-4-9b",
)
"""Families and sizes; five of them tie the head to the embedding."""
SETTINGS: tuple[tuple[str, dict[str, Any], Quantization | None, bool, DecoderKernels], ...] = (
    ("fsdp", FSDP, None, True, FUSED),
    ("ddp", DDP, None, True, COMPILED),
    ("fsdp", FSDP, NF4, True, FUSED),
    ("ddp", DDP, FP8, True, FUSED),
    ("fsdp", FSDP, None, False, COMPILED),
    ("ddp", DDP, NF4_DQ, True, FUSED),
    ("fsdp", FSDP, NF4_DQ, False, REFERENCE),
    ("ddp", DDP, FP8, False, COMPILED),
    ("fsdp", FSDP, None, True, REFERENCE),
    ("ddp", DDP, None, False, FUSED),
    ("fsdp", FSDP, NF4, False, COMPILED),
)
"""Sharding, form of the base, checkpointing, and kernels of the decoder."""
COUNT = 38
"""Runs in each of the two parts; the second was foretold after the first had mended the model."""


def _memory() -> Iterator[Run]:
    """Models, settings, layouts and methods, each gone through in turn."""
    models, settings = cycle(MODELS), cycle(SETTINGS)
    for number in range(2 * COUNT):
        model, (name, sharding, form, checkpoints, kernels) = next(models), next(settings)
        packed = name == "ddp" or number % 4 < 2
        dora = number % 5 == 4 and form is not FP8
        tokens = (1024, 2048, 512)[number % 3]
        layout: dict[str, Any] = (
            {"token_budget": 2 * tokens, "micro_batch_size": 1}
            if packed
            else {"token_budget": None, "micro_batch_size": 1 + number % 2}
        )
        words = (str(number), name, model, form or "bf16", "dora" if dora else "lora")
        yield Run(
            "-".join((*words, "packed" if packed else "padded")),
            "memory" if number < COUNT else "memory-2",
            model,
            layers=LAYERS + 2 * (number % 3),
            pins={
                **sharding,
                **layout,
                "quantization": form,
                "gradient_checkpointing": checkpoints,
                "checkpointed_layers": None,
                "decoder_kernels": REFERENCE if dora else kernels,
                "loss_kernel": LossKernel.PLAIN if number % 6 == 5 else LossKernel.FUSED,
            },
            learning={
                "cutoff_len": tokens,
                "effective_batch_size": 8,
                "lora_rank": (8, 16, 64)[number % 3],
                "finetuning_type": FinetuningType.DORA if dora else FinetuningType.LORA,
            },
        )


def _timed(name: str, model: str, sharding: dict[str, Any], **more: Any) -> Run:
    """A run over unequal rows, packed: eight steps of 128 rows in passes of 8,192 positions."""
    return Run(
        name,
        "scaling",
        model,
        pins={
            **sharding,
            "quantization": None,
            "token_budget": 8192,
            "micro_batch_size": 1,
            "gradient_checkpointing": False,
            "checkpointed_layers": None,
        },
        learning={
            "cutoff_len": 2048,
            "effective_batch_size": 128,
            "lora_rank": 8,
            "num_train_epochs": 1,
            "validation_fraction": 0.0,
        },
        rows=SKEWED,
        steps=8,
        seconds=110.0,
        **more,
    )


def _gathered(name: str, model: str, sharding: dict[str, Any], budget: int) -> Run:
    """A few steps over packed rows, whose layers' gathers lie beside little or much work."""
    return Run(
        name,
        "gathered",
        model,
        pins={
            **sharding,
            "quantization": None,
            "token_budget": budget,
            "micro_batch_size": 1,
            "gradient_checkpointing": True,
            "checkpointed_layers": None,
            "loss_kernel": LossKernel.FUSED,
            "decoder_kernels": FUSED,
        },
        learning={"cutoff_len": 2048, "effective_batch_size": 16, "lora_rank": 8},
        steps=4,
    )


def _large(name: str, tokens: int) -> Run:
    """A 72B on cards of 24 GiB; on all linears, adapters and their states would leave too little."""
    return Run(
        name,
        "large",
        "qwen2.5-72b",
        pins={
            **FSDP,
            "quantization": NF4_DQ,
            "gradient_checkpointing": True,
            "checkpointed_layers": None,
            "micro_batch_size": 1,
            "token_budget": None,
            "loss_kernel": LossKernel.FUSED,
            "decoder_kernels": FUSED,
        },
        learning={
            "cutoff_len": tokens,
            "effective_batch_size": 2,
            "lora_rank": 8,
            "lora_target": ("q_proj", "k_proj", "v_proj", "o_proj"),
        },
        cap_gib=24,
        seconds=200.0,
    )


def _streamed() -> Run:
    """A 14B whose layers both processes fetch from one copy in host memory."""
    return Run(
        "14b-streamed-two",
        "streamed",
        "qwen2.5-14b",
        pins={
            "world_size": 2,
            "streamed_layers": 48,
            "inputs_on_device": 0,
            "quantization": None,
            "gradient_checkpointing": True,
            "checkpointed_layers": None,
            "micro_batch_size": 1,
            "token_budget": None,
            "loss_kernel": LossKernel.FUSED,
        },
        learning={"cutoff_len": 4096, "effective_batch_size": 16, "lora_rank": 8},
        cap_gib=8,
        seconds=110.0,
    )


RUNS: tuple[Run, ...] = (
    *_memory(),
    _timed("14b-two", "qwen2.5-14b", DDP),
    _timed("14b-one", "qwen2.5-14b", ALONE),
    _timed("8b-fsdp", "qwen3-8b", FSDP),
    _timed("8b-two", "qwen3-8b", DDP),
    _streamed(),
    *(
        _gathered(f"{model}-{name}-{budget}", model, sharding, budget)
        for model in ("qwen3-8b", "qwen2.5-1.5b")
        for budget in (2048, 8192)
        for name, sharding in (("fsdp", FSDP), ("ddp", DDP))
    ),
    _large("72b-nf4-24", 384),
    _large("72b-nf4-24-short", 128),
)
PARTS = tuple(dict.fromkeys(run.part for run in RUNS))


def shaped(run: Run, folder: Path, *, tiny: bool) -> str:
    """The model of a run: a preset, or a file of its config with fewer layers.

    ``tiny``: so small as well that a CPU trains it.
    """
    if run.layers is None and not tiny:
        return run.model
    config = dict(read_model(run.model).config)
    for part in (config, config.get("text_config", {})):
        if "num_hidden_layers" in part:
            part["num_hidden_layers"] = TINY_LAYERS if tiny else run.layers
            part.pop("layer_types", None)
            if tiny:
                part.update(TINY)
                for name in NOT_TINY:
                    part.pop(name, None)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


TINY: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1024,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
NOT_TINY = ("head_dim", "max_window_layers", "rope_scaling", "rope_parameters", "no_rope_layers")
TINY_TOKENS, TINY_BATCH, TINY_ROWS, TINY_RANK, TINY_LAYERS = 64, 4, 16, 8, 2


def plan_of(run: Run, folder: Path, *, tiny: bool) -> Plan:
    """The plan that is made for a run on two H200; ``tiny``: the same run on two CPU processes."""
    learning, pins, dataset = dict(run.learning), dict(run.pins), None
    if tiny:
        learning["effective_batch_size"], learning["lora_rank"] = TINY_BATCH, TINY_RANK
        learning["cutoff_len"] = TINY_TOKENS
        if pins.get("token_budget"):
            pins["token_budget"] = 2 * TINY_TOKENS
        if pins.get("streamed_layers"):
            pins["streamed_layers"] = TINY_LAYERS
    if pins.get("quantization") in (NF4, NF4_DQ):
        pins["upcast_unquantized"] = False
    if run.rows is not None:
        rows = {"most": learning["cutoff_len"] - 40, **run.rows, "name": run.name}
        path = folder / "rows.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        write_rows(path, {**rows, "rows": TINY_ROWS} if tiny else rows)
        dataset = DataSource(paths=(str(path),))
    subject = Subject(
        model=shaped(run, folder / "model", tiny=tiny),
        dataset=dataset,
        tokenizer=None if dataset is None else str(TOKENIZER),
        machine=MACHINE,
        learning=learning,
        pins=Pins(**pins),
        liberty=Liberty(corrections=False),
    )
    plan = choose(plan_request(subject, folder / "saves")).plan
    return on_cpu(plan) if tiny else plan


def on_cpu(plan: Plan) -> Plan:
    """The plan with all that needs a GPU taken out."""
    hardware = plan.hardware
    kernels = replace(hardware.kernels, decoder_kernels=DecoderKernels.FUSED)
    if hardware.kernels.decoder_kernels is DecoderKernels.REFERENCE:
        kernels = hardware.kernels
    whole = changed(hardware, model_dtype=Dtype.FP32, autocast=None)
    return replace(plan, hardware=replace(whole, accelerator="cpu", kernels=kernels))


def told(run: Run, plan: Plan) -> dict[str, Any]:
    """What is foretold of a run, as it is committed before it starts."""
    memory = plan.memory
    return {
        "run": run.name,
        "part": run.part,
        "hardware": {
            name: msgspec.to_builtins(getattr(plan.hardware, name))
            for name in ("batch", "base", "kernels", "sharding")
        },
        "layers": plan.architecture.num_hidden_layers if plan.architecture else None,
        "cap_gib": run.cap_gib,
        "verdict": plan.verdict,
        "step_seconds": plan.time.step_seconds,
        "relative_error": plan.time.relative_error,
        "memory": {
            name: msgspec.to_builtins(getattr(memory, name))
            for name in ("peak_allocated_bytes", "peak_reserved_bytes", "process_bytes")
        },
        "peak_instant": memory.peak_instant,
    }


def outside_bytes(plan: Plan) -> int:
    """What a process holds of a card beyond its allocator."""
    return plan.memory.process_bytes.expected - plan.memory.peak_reserved_bytes.expected
