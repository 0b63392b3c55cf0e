"""Is the winner better than the prior, or only luckier?

The best of several noisy results is too good on average, so a difference within the noise of the
held-out rows is no reason to leave the prior.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from tsplanner.tune.study import Result

EVAL_ROWS_FILE = "eval_rows.json"
FEWEST_ROWS = 5
"""Fewer held-out rows than this say nothing about their spread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Which trial's settings the full run uses, and why."""

    chosen: Result
    difference: float | None
    """Winner's held-out loss minus the prior's; None if they cannot be compared."""
    standard_error: float | None
    """Of that difference, from its spread over the held-out rows."""
    sentence: str


def decide(results: list[Result], trials_folder: Path) -> Decision | None:
    """The winner if it beats trial 0 by more than one standard error, else trial 0's settings.

    None if no trial finished.
    """
    done = [result for result in results if result.state == "done" and result.eval_loss is not None]
    if not done:
        return None
    best = min(done, key=lambda result: (result.eval_loss or math.inf, result.number))
    prior = next((result for result in done if is_prior(result, results)), None)
    if prior is None:
        return _sure(best, f"Trial {best.number} is the best; the default did not finish.")
    if prior.number == best.number:
        return _sure(best, "No trial is better than the default: keeping the default.")
    compared = paired_difference(
        read_rows(trials_folder / str(best.number)), read_rows(trials_folder / str(prior.number))
    )
    if compared is None:
        difference = (best.eval_loss or 0.0) - (prior.eval_loss or 0.0)
        return Decision(
            chosen=prior,
            difference=difference,
            standard_error=None,
            sentence=(
                f"Trial {best.number} against the default: {difference:+.4f}, on too few held-out "
                "rows to tell it from noise: keeping the default."
            ),
        )
    difference, error = compared
    better = difference < -error
    verdict = "using it" if better else "no proof that it is better: keeping the default"
    return Decision(
        chosen=best if better else prior,
        difference=difference,
        standard_error=error,
        sentence=(
            f"Trial {best.number} against the default on the same held-out rows: "
            f"{difference:+.4f} ± {error:.4f} (one standard error): {verdict}."
        ),
    )


def _sure(chosen: Result, sentence: str) -> Decision:
    return Decision(chosen=chosen, difference=None, standard_error=None, sentence=sentence)


def is_prior(result: Result, results: list[Result]) -> bool:
    """Whether a trial has the settings of trial 0 (which may have been run again after a kill)."""
    first = next((other for other in results if other.number == 0), None)
    return result.number == 0 or (first is not None and result.learning == first.learning)


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


def read_rows(folder: Path) -> Rows:
    """The held-out rows' losses at a trial's best evaluation; empty if it left none."""
    try:
        value = json.loads((folder / EVAL_ROWS_FILE).read_text(encoding="utf-8"))
        return [(float(mean), int(count)) for mean, count in value["rows"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
