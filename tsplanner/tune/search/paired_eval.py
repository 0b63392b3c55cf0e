"""Held-out losses per example: two trials are compared on the same examples."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tsplanner import runs
from tsplanner.reading import decoded, read_text

EXAMPLE_LOSSES_FILE = "eval_rows.json"
"""In a run's folder: losses per held-out example at the best evaluation."""
EVAL_CHECKPOINTS_FILE = "eval_rows.jsonl"
"""In a run's folder: losses per held-out example, one line per evaluation."""
MIN_EXAMPLES = 5
"""Fewer held-out examples than this say nothing about their spread."""

PerExampleLosses = list[tuple[float, int]]
"""Mean loss per token and number of labelled tokens of each held-out example."""


def paired_difference(one: PerExampleLosses, other: PerExampleLosses) -> tuple[float, float] | None:
    """(mean difference per token, its standard error); None for too few or unequal examples.

    The loss of a set is a ratio of sums, sum(n_i x_i) / sum(n_i); its standard error is that of
    the linearised mean of n_i (d_i - d) / mean(n).
    """
    # Examples carry no name: equal numbers of tokens in the same order stand for the same examples.
    same = len(one) == len(other) and all(a[1] == b[1] for a, b in zip(one, other, strict=False))
    if not same or len(one) < MIN_EXAMPLES:
        return None
    tokens = [count for _, count in one]
    deltas = [a[0] - b[0] for a, b in zip(one, other, strict=True)]
    mean_tokens = sum(tokens) / len(tokens)
    if mean_tokens == 0:
        return None
    difference = sum(n * d for n, d in zip(tokens, deltas, strict=True)) / sum(tokens)
    residuals = [n * (d - difference) / mean_tokens for n, d in zip(tokens, deltas, strict=True)]
    variance = sum(value * value for value in residuals) / (len(residuals) - 1)
    return difference, math.sqrt(variance / len(residuals))


def mean_loss(losses: PerExampleLosses) -> float:
    """Mean loss per token; infinite if the loss of an example is not a finite number."""
    total = sum(mean * count for mean, count in losses) / max(1, sum(count for _, count in losses))
    return total if math.isfinite(total) else math.inf


def read_eval_checkpoints(folder: Path) -> dict[int, tuple[float, PerExampleLosses]]:
    """Epoch and losses of each evaluation of a trial, by step; empty if the trial left none."""
    found: dict[int, tuple[float, PerExampleLosses]] = {}
    for read in runs.read_json_lines(folder / EVAL_CHECKPOINTS_FILE):
        line: dict[str, Any] = read
        try:
            losses = [(float(mean), int(count)) for mean, count in line["rows"]]
            found[int(line["step"])] = float(line["epoch"]), losses
        except (KeyError, TypeError, ValueError):
            continue
    return found


def read_example_losses(folder: Path) -> PerExampleLosses:
    """Losses per held-out example at a run's best evaluation; empty if the run left none."""
    try:
        value = decoded(read_text(folder / EXAMPLE_LOSSES_FILE), finite=False)
        return [(float(mean), int(count)) for mean, count in value["rows"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
