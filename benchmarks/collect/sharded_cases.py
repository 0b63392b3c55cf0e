"""Random configurations of several ranks: DDP, ZeRO 1 to 3, offload, each by every method.

    python benchmarks/collect/sharded_cases.py --seed 1 --count 44 --output h200x2_sharded_1

Shardings and methods are gone through in turn, the rest is drawn: so every pair that can run is
there before any comes twice. Writes benchmarks/data/cases/NAME.jsonl.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from memory_models.estimate import estimate_memory
from memory_models.states.weights import total_parameters
from memory_models.units import GIB
from tsplanner.planner.gather.cases import read_case

FOLDER = Path(__file__).parents[1] / "data" / "cases"
MODELS = (
    "qwen2.5-0.5b",
    "qwen2.5-1.5b",
    "qwen2.5-3b",
    "qwen2.5-7b",
    "qwen2.5-14b",
    "qwen3-0.6b",
    "qwen3-1.7b",
    "qwen3-4b",
    "qwen3-8b",
    "llama-3.2-1b",
    "llama-3.2-3b",
    "llama-3.1-8b",
    "mistral-7b",
    "phi-4-mini",
    "opt-1.3b",
    "pythia-1.4b",
)
SHARDINGS: tuple[dict[str, Any], ...] = (
    {"world_size": 2},
    {"world_size": 2, "zero_stage": 3},
    {"world_size": 2, "zero_stage": 2},
    {"world_size": 2, "zero_stage": 3, "offload_param": True},
    {"world_size": 2, "zero_stage": 2, "offload_optimizer": True},
    {"world_size": 2, "zero_stage": 1},
    {"world_size": 2, "zero_stage": 3, "offload_param": True, "offload_optimizer": True},
    {"world_size": 1, "zero_stage": 3, "offload_param": True},
    {"world_size": 1, "zero_stage": 2, "offload_optimizer": True},
)
METHODS: tuple[dict[str, Any], ...] = (
    {"finetuning_type": "lora"},
    {"finetuning_type": "full"},
    {"finetuning_type": "lora", "quantization": "nf4-dq"},
    {"finetuning_type": "dora"},
    {"finetuning_type": "freeze"},
)
MOST_BYTES = 70 * GIB
MOST_HOST_BYTES = 44 * GIB
MOST_WORK = 1.2e14
"""Parameters times tokens of a rank's optimizer step."""


def pairs() -> Iterator[dict[str, Any]]:
    """Shardings and methods that our worker runs: a quantised base is not sharded by ZeRO-3."""
    for method, sharding in product(METHODS, SHARDINGS):
        sharded = sharding.get("zero_stage") == 3
        adapter = method["finetuning_type"] not in ("full", "freeze")
        if sharded and ("quantization" in method or method["finetuning_type"] == "dora"):
            continue
        if adapter and sharding.get("offload_optimizer") and not sharded:
            continue
        yield {**sharding, **method}


def draw(dice: random.Random, pair: dict[str, Any]) -> dict[str, Any]:
    """A configuration of this pair that two such GPUs and their host can hold."""
    while True:
        given = {
            "model": dice.choice(MODELS),
            **pair,
            "sequence_length": dice.choice((512, 1024, 2048, 4096)),
            "micro_batch_size": dice.choice((1, 1, 2, 4)),
            "gradient_accumulation_steps": dice.choice((1, 2, 3)),
            "gradient_checkpointing": dice.random() < 0.7,
            "loss_kernel": dice.choice(("fused", "plain")),
            "lora_rank": dice.choice((8, 16, 64)),
        }
        try:
            case = read_case(given, {})
            memory = estimate_memory(case.architecture, case.settings, case.device)
        except ValueError:
            continue
        size = total_parameters(case.architecture)
        tokens = given["sequence_length"] * given["micro_batch_size"]
        work = size * tokens * given["gradient_accumulation_steps"]
        # Random weights are built whole on each rank before they are sharded.
        whole = 2 * size * (2 if given["finetuning_type"] == "full" else 1)
        if (
            max(memory.process_bytes.upper, whole) < MOST_BYTES
            and max(memory.host_bytes.upper, 0) < MOST_HOST_BYTES
            and work < MOST_WORK
        ):
            return given


def main() -> None:
    """Write the cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, default=44)
    parser.add_argument("--output", required=True)
    options = parser.parse_args()
    dice, wanted = random.Random(options.seed), list(pairs())
    cases = [draw(dice, wanted[number % len(wanted)]) for number in range(options.count)]
    path = FOLDER / f"{options.output}.jsonl"
    path.write_text("".join(json.dumps(case) + "\n" for case in cases))
    print(f"{len(cases)} cases of {len(wanted)} pairs in {path}")


if __name__ == "__main__":
    main()
