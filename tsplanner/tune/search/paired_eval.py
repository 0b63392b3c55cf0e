"""Held-out losses row by row: what two trials on the same rows are compared by."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from tsplanner import runs

EVAL_ROWS_FILE = "eval_rows.json"
EVAL_MARKS_FILE = "eval_rows.jsonl"
FEWEST_ROWS = 5
"""Fewer held-out rows than this say nothing about their spread."""

Rows = list[tuple[float, int]]
"""Mean loss and labelled tokens of each held-out row."""


def paired_difference(one: Rows, other: Rows) -> tuple[float, float] | None:
    """(mean difference a token, its standard error); None for too few rows or unequal ones.

    The loss of a set is a ratio of sums, sum(n_i x_i) / sum(n_i); its standard error is that of
    the linearised mean of n_i (d_i - d) / mean(n).
    """
    same = len(one) == len(other) and all(a[1] == b[1] for a, b in zip(one, other, strict=False))
    if not same or len(one) < FEWEST_ROWS:
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


def mean_loss(rows: Rows) -> float:
    """Mean loss a token; infinite if a row's is no number."""
    total = sum(mean * count for mean, count in rows) / max(1, sum(count for _, count in rows))
    return total if math.isfinite(total) else math.inf


def read_marks(folder: Path) -> dict[int, tuple[float, Rows]]:
    """Epoch and rows of each evaluation of a trial, by step; empty if it left none."""
    found: dict[int, tuple[float, Rows]] = {}
    for read in runs.read_json_lines(folder / EVAL_MARKS_FILE):
        line: dict[str, Any] = read
        try:
            rows = [(float(mean), int(count)) for mean, count in line["rows"]]
            found[int(line["step"])] = float(line["epoch"]), rows
        except (KeyError, TypeError, ValueError):
            continue
    return found


def read_rows(folder: Path) -> Rows:
    """The held-out rows' losses at a run's best evaluation; empty if it left none."""
    try:
        value = json.loads((folder / EVAL_ROWS_FILE).read_text(encoding="utf-8"))
        return [(float(mean), int(count)) for mean, count in value["rows"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
