"""Attention and loss kernels alone, on a GPU: seconds, peak bytes and how far the results differ.

    python benchmarks/speed/kernel_times.py --output DIR [--only attention|loss] [--dry-run]

Attention: forward and backward of one layer at shapes of Qwen3-8B (one row of 4,096 tokens; rows of
skewed lengths end to end) and of Gemma 2 (soft cap 50, window 4,096), by scaled dot-product
attention, ``torch.nn.attention.varlen``, flash-attn 2 and 4 where they are installed, and
flex_attention. Loss: lm_head and cross-entropy of 16,384 tokens at 151,936 x 4,096 in bf16, frozen
head, by our fused loss, Liger's and cut-cross-entropy where they are installed. What is not
installed, or fails, is a row that says so. Writes DIR/kernel_times.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.attention_kernels import ATTENTION, LAYERS, TINY_LAYERS, Layer, Run
from memory_models.units import MIB
from tsplanner.runs import versions, write_json
from tsplanner.training.kernels.fused_loss import (
    COMPILED_ROWS,
    UNCHANGED,
    ChunkedCrossEntropy,
    ChunkSettings,
)
from tsplanner.training.kernels.fused_loss import chunk_rows as rows_per_chunk

REPEATS = 10


def measure(step: Callable[[], Tensor], repeats: int) -> dict[str, Any]:
    """Seconds of the first call and of later ones, and bytes above those held before."""
    cuda = torch.cuda.is_available()
    began = time.perf_counter()
    value = float(step().float().sum())
    first = time.perf_counter() - began
    step()
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated() if cuda else 0
    began = time.perf_counter()
    for _ in range(repeats):
        step()
    if cuda:
        torch.cuda.synchronize()
    seconds = (time.perf_counter() - began) / repeats
    peak = torch.cuda.max_memory_allocated() - held if cuda else 0
    return {"ms": 1000 * seconds, "first_s": first, "peak_mib": peak / MIB, "value": value}


def attention_rows(layer: Layer, device: torch.device, repeats: int) -> list[dict[str, Any]]:
    """Forward and backward of every kernel on one layer."""
    torch.manual_seed(0)
    found, dtype = [], torch.bfloat16 if device.type == "cuda" else torch.float32
    shapes = [(1, heads, layer.tokens, layer.size) for heads in (layer.heads, *[layer.groups] * 2)]
    parts = [torch.randn(shape, device=device, dtype=dtype) for shape in shapes]
    upstream = torch.randn(1, layer.tokens, layer.heads, layer.size, device=device, dtype=dtype)
    for name, make in ATTENTION.items():
        row: dict[str, Any] = {"layer": layer.name, "kernel": name}
        try:
            run = make(layer, device)

            def step(run: Run = run) -> Tensor:
                given = [part.detach().requires_grad_() for part in parts]
                result = run(*given)
                result.backward(upstream)
                gradient = given[0].grad
                assert gradient is not None
                return gradient.abs()

            row |= measure(step, repeats)
        except Exception as error:
            row["error"] = f"{type(error).__name__}: {error}"[:300]
        print(json.dumps(row), flush=True)
        found.append(row)
    return found


def our_loss(hidden: Tensor, head: Tensor, labels: Tensor, *, compiled: bool = False) -> Tensor:
    """The worker's fused loss, or its compiled one."""
    rows = rows_per_chunk(len(labels), head.shape[1], head.shape[0])
    rows *= COMPILED_ROWS if compiled else 1
    chunks = ChunkSettings(rows, UNCHANGED, hidden.dtype, compiled=compiled)
    total: Tensor = ChunkedCrossEntropy.apply(hidden, head, None, labels, chunks)
    return total / len(labels)


def ligers_loss(hidden: Tensor, head: Tensor, labels: Tensor) -> Tensor:
    """Liger's fused linear cross-entropy."""
    from liger_kernel.ops import LigerFusedLinearCrossEntropyFunction

    found: Tensor = LigerFusedLinearCrossEntropyFunction.apply(hidden, head, labels)[0]
    return found


def cut_loss(hidden: Tensor, head: Tensor, labels: Tensor) -> Tensor:
    """Apple's cut cross-entropy."""
    from cut_cross_entropy import linear_cross_entropy

    found: Tensor = linear_cross_entropy(hidden, head, labels)
    return found


def plain_loss(hidden: Tensor, head: Tensor, labels: Tensor) -> Tensor:
    """All logits at once."""
    return torch.nn.functional.cross_entropy((hidden @ head.t()).float(), labels)


LOSSES = {
    "plain": plain_loss,
    "fused (ours)": our_loss,
    "compiled (ours)": partial(our_loss, compiled=True),
    "Liger": ligers_loss,
    "cut-cross-entropy": cut_loss,
}


def loss_rows(
    device: torch.device, tokens: int, sizes: tuple[int, int], repeats: int
) -> list[dict[str, Any]]:
    """Forward and backward of every loss; ``sizes``: V and D."""
    torch.manual_seed(0)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    head = torch.randn(sizes, device=device, dtype=dtype) * 0.02
    hidden = torch.randn(tokens, sizes[1], device=device, dtype=dtype)
    labels = torch.randint(0, sizes[0], (tokens,), device=device)
    found = []
    for name, loss in LOSSES.items():
        row: dict[str, Any] = {"loss": name, "tokens": tokens, "head": sizes}
        try:

            def step(loss: Callable[..., Tensor] = loss) -> Tensor:
                given = hidden.detach().requires_grad_()
                value = loss(given, head, labels)
                value.backward()
                return value.detach()

            row |= measure(step, repeats)
        except Exception as error:
            row["error"] = f"{type(error).__name__}: {error}"[:300]
        print(json.dumps(row), flush=True)
        found.append(row)
    return found


def main(arguments: list[str]) -> int:
    """Time what is asked for; 0 if the rows were written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--only", choices=("attention", "loss"))
    parser.add_argument("--dry-run", action="store_true", help="tiny shapes on the CPU")
    options = parser.parse_args(arguments)
    device = torch.device("cpu" if options.dry_run else "cuda")
    repeats = 1 if options.dry_run else REPEATS
    rows: list[dict[str, Any]] = []
    if options.only != "loss":
        for layer in TINY_LAYERS if options.dry_run else LAYERS:
            rows += attention_rows(layer, device, repeats)
    if options.only != "attention":
        sizes = (1000, 64) if options.dry_run else (151936, 4096)
        rows += loss_rows(device, 128 if options.dry_run else 16384, sizes, repeats)
    name = "cpu" if options.dry_run else torch.cuda.get_device_name(device)
    options.output.mkdir(parents=True, exist_ok=True)
    found = {"device": name, "date": time.strftime("%Y-%m-%d"), "versions": versions()}
    write_json(options.output / "kernel_times.json", {**found, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
