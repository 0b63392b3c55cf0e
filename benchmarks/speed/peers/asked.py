"""What is compared: shapes of rows, and ways to train on them."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsplanner.models.source import read_model

SHORTEST, LONGEST = 24, 2048
MEDIAN_LOG, SPREAD_LOG = 5.5, 0.8
"""Row lengths of chat data: their logarithm is normal; the median is 245 tokens, the mean 337."""
TINY = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128, "vocab_size": 512} | {
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A model, and the rows of one optimizer step."""

    name: str
    model: str
    length: int | None
    """Tokens of every row; None: skewed lengths."""
    rows: int = 16
    warmup: int = 3
    """Steps before the timed ones: kernels are compiled and chosen, and memory is reserved."""
    steps: int = 6
    """Timed steps."""
    ways: tuple[str, ...]
    """What is compared unless ways are named."""


def padded(micro_batch_size: int, *trainers: str) -> tuple[str, ...]:
    """Ours with fused kernels, with compiled ones and on an fp8 base, then the other trainers."""
    size = f"micro_batch_size={micro_batch_size}"
    compiled = f"ours:{size},decoder_kernels=compiled"
    return (
        f"ours:{size}",
        compiled,
        f"{compiled},quantization=fp8",
        *(f"{trainer}:{size}" for trainer in trainers),
    )


PACKED = "token_budget=8192"
SKEWED = (
    "ours:micro_batch_size=4",
    "ours:micro_batch_size=8",
    f"ours:{PACKED}",
    f"ours:{PACKED},decoder_kernels=compiled",
    f"ours:{PACKED},decoder_kernels=compiled,quantization=fp8",
    "unsloth:micro_batch_size=4",
    "unsloth:micro_batch_size=8",
    f"unsloth:{PACKED}",
)
SHAPES = {
    shape.name: shape
    for shape in (
        Shape(
            name="512",
            model="qwen3-8b",
            length=512,
            ways=(
                *padded(16, "unsloth", "liger"),
                f"ours:{PACKED},decoder_kernels=compiled",
                "usual",
            ),
        ),
        Shape(
            name="2048",
            model="qwen3-8b",
            length=2048,
            steps=4,
            ways=padded(8, "unsloth", "liger"),
        ),
        # Every width of a batch is met for the first time in the warm-up, and again when timed.
        Shape(name="skewed", model="qwen3-8b", length=None, warmup=10, steps=10, ways=SKEWED),
        # One trial of a search, from its start on: `multi_lora_rows.py` trains eight on these rows.
        Shape(
            name="trials",
            model="qwen3-8b",
            length=None,
            rows=4,
            warmup=0,
            steps=100,
            ways=("unsloth:micro_batch_size=4", f"unsloth:{PACKED}"),
        ),
        # A whole step of 16 rows would take 13 s, and its rate is that of four rows.
        Shape(
            name="14b",
            model="qwen2.5-14b",
            length=4096,
            rows=4,
            steps=3,
            ways=(*padded(1, "unsloth"), "usual"),
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A trainer, and its settings by the names of ``tsplanner estimate``."""

    trainer: str
    """``ours``, ``liger`` or ``unsloth``."""
    settings: dict[str, Any]

    @property
    def name(self) -> str:
        """The way as it is written on the command line."""
        words = ",".join(f"{key}={_word(value)}" for key, value in self.settings.items())
        return f"{self.trainer}:{words}"

    @property
    def budget(self) -> int | None:
        """Tokens per pass of packed rows; None: rows are padded."""
        found: int | None = self.settings.get("token_budget")
        return found


USUAL = "ours:decoder_kernels=reference,loss_kernel=plain,gradient_checkpointing=true"
"""The usual script: transformers' Trainer and PEFT, micro-batch 1, checkpointing."""


def read_way(text: str) -> Way:
    """A way from ``TRAINER:key=value,key=value``; ``usual`` stands for the usual script."""
    trainer, _, rest = (USUAL if text == "usual" else text).partition(":")
    if trainer not in ("ours", "liger", "unsloth"):
        raise SystemExit(f"{trainer} is no trainer: take ours, liger, unsloth or usual")
    pairs = (pair.partition("=") for pair in rest.split(",") if pair)
    return Way(trainer=trainer, settings={key: _plain(value) for key, _, value in pairs})


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _plain(value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def row_lengths(shape: Shape, step: int) -> list[int]:
    """Tokens of the rows of a step; the same for every way, and again after the timed steps."""
    if shape.length is not None:
        return [shape.length] * shape.rows
    dice = random.Random(1000 + step % shape.steps)
    drawn = (dice.lognormvariate(MEDIAN_LOG, SPREAD_LOG) for _ in range(shape.rows))
    return [int(min(LONGEST, max(SHORTEST, length))) for length in drawn]


def config_folder(shape: Shape, output: Path, *, tiny: bool) -> Path:
    """A folder with the model's config.json alone, from which every way builds the same weights."""
    config = dict(read_model(shape.model).config)
    if tiny:
        config |= {key: value for key, value in TINY.items() if key in config}
    folder = output / f"{shape.model}{'-tiny' if tiny else ''}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return folder
