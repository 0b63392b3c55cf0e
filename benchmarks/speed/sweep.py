"""Time of the memory estimate itself: one configuration again and again, and a sweep over many.

    python benchmarks/speed/sweep.py [--model qwen2.5-7b]

The sweep's first pass meets every structure (rank, checkpointing, loss, optimizer) for the first
time, and so runs its tape; the second finds all of them. One core, no process started.
"""

from __future__ import annotations

import argparse
import time
from itertools import product

from memory_models.architecture import Architecture
from memory_models.estimate import estimate_memory
from memory_models.settings import LossKernel, Optimizer, TrainingSettings, from_flat
from tsplanner.models.source import read_model

BATCHES = (1, 2, 4, 8, 16)
LENGTHS = (256, 512, 1024, 2048, 4096)
RANKS = (4, 8, 16, 32, 64)
OPTIMIZERS = (
    Optimizer.ADAMW_TORCH_FUSED,
    Optimizer.ADAMW_TORCH,
    Optimizer.PAGED_ADAMW_8BIT,
    Optimizer.ADAFACTOR,
)
REPEATS = 100


def sweep() -> list[TrainingSettings]:
    """2,000 configurations, no two of them the same."""
    return [
        from_flat(
            TrainingSettings,
            micro_batch_size=batch,
            sequence_length=length,
            lora_rank=rank,
            gradient_checkpointing=checkpointed,
            loss_kernel=loss,
            optimizer=optimizer,
        )
        for batch, length, rank, checkpointed, loss, optimizer in product(
            BATCHES, LENGTHS, RANKS, (True, False), LossKernel, OPTIMIZERS
        )
    ]


def seconds(architecture: Architecture, settings: list[TrainingSettings]) -> float:
    """To estimate all of them."""
    began = time.perf_counter()
    for found in settings:
        estimate_memory(architecture, found)
    return time.perf_counter() - began


def main() -> None:
    """Print microseconds of one estimate, and configurations a second."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="qwen2.5-7b")
    architecture = read_model(parser.parse_args().model).architecture
    configurations = sweep()
    for name in ("first", "second"):
        rate = len(configurations) / seconds(architecture, configurations)
        print(f"sweep over {len(configurations)} configurations, {name} pass: {rate:,.0f} a second")
    lengths = [
        from_flat(TrainingSettings, micro_batch_size=batch, sequence_length=length)
        for batch, length in product(BATCHES, LENGTHS)
    ]
    each = min(seconds(architecture, lengths) for _ in range(REPEATS)) / len(lengths)
    print(f"one estimate, its structure seen before: {1e6 * each:.0f} microseconds")


if __name__ == "__main__":
    main()
