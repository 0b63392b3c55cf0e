"""The rules that answer the sample dataset's questions. Each takes a window and returns a label.

The README of configs/datasets/sample states the same rules in words.
"""

from __future__ import annotations

import numpy as np

QUARTERS = ("first quarter", "second quarter", "third quarter", "last quarter")


def _quarter(index: int, points: int) -> str:
    return QUARTERS[min(3, 4 * index // points)]


def movement_label(values: np.ndarray) -> str:
    """Last fifth against first fifth, in standard deviations of the window."""
    fifth = len(values) // 5
    moved = (values[-fifth:].mean() - values[:fifth].mean()) / (values.std() + 1e-12)
    if abs(moved) < 0.5:
        return "Movement: sideways."
    strength = "strong" if abs(moved) >= 1.5 else "mild"
    return f"Movement: {'climbing' if moved > 0 else 'sinking'}, {strength}."


def recurrence_label(values: np.ndarray) -> str:
    """Highest autocorrelation peak of the window without its straight line, at 4 to a third."""
    steps = np.arange(len(values))
    rest = values - np.polyval(np.polyfit(steps, values, 1), steps)
    if rest.std() < 1e-9:
        return "Recurrence: none."
    rest = rest / np.linalg.norm(rest)
    lags = range(4, len(values) // 3 + 1)
    scores = np.array([float(rest[lag:] @ rest[:-lag]) for lag in lags])
    inner = scores[1:-1]
    peaks = [i + 1 for i in np.flatnonzero((inner > scores[:-2]) & (inner >= scores[2:]))]
    peaks = [i for i in peaks if scores[i] >= 0.3]
    if not peaks:
        return "Recurrence: none."
    return f"Recurrence: about every {lags[max(peaks, key=lambda i: scores[i])]} steps."


def break_label(values: np.ndarray) -> str:
    """The split into two means that leaves least variance, if it explains 40 % with a real step."""
    total = values.var() * len(values)
    best, place = 0.0, 0
    for split in range(len(values) // 5, len(values) - len(values) // 5):
        left, right = values[:split], values[split:]
        gained = total - left.var() * len(left) - right.var() * len(right)
        if gained > best:
            best, place = gained, split
    if total <= 0 or best / total < 0.4:
        return "Break: none."
    jump = values[place : place + 6].mean() - values[max(0, place - 6) : place].mean()
    if abs(jump) < 0.7 * values.std():
        return "Break: none."
    return f"Break: {'upward' if jump > 0 else 'downward'}, {_quarter(place, len(values))}."


def outlier_label(values: np.ndarray) -> str:
    """The point furthest from the mean of its neighbours, if 4.5 times the median distance."""
    distance = values[1:-1] - (values[:-2] + values[2:]) / 2
    index = int(np.argmax(np.abs(distance)))
    if abs(distance[index]) < 4.5 * np.median(np.abs(distance)) + 1e-12:
        return "Outlier: none."
    side = "above" if distance[index] > 0 else "below"
    return f"Outlier: {side}, {_quarter(index + 1, len(values))}."


def peak_label(values: np.ndarray) -> str:
    """The first largest value."""
    return f"Peak: {_quarter(int(np.argmax(values)), len(values))}."


def trough_label(values: np.ndarray) -> str:
    """The first smallest value."""
    return f"Trough: {_quarter(int(np.argmin(values)), len(values))}."


def change_label(values: np.ndarray) -> str:
    """Last value minus first, as a share of the window's range."""
    share = (values[-1] - values[0]) / (np.ptp(values) + 1e-12)
    if abs(share) < 0.2:
        return "Ends: level."
    return (
        f"Ends: {'higher' if share > 0 else 'lower'} by {'most' if abs(share) > 0.6 else 'part'}."
    )


def together_label(first: np.ndarray, second: np.ndarray) -> str:
    """Correlation of the two windows."""
    correlation = float(np.corrcoef(first, second)[0, 1])
    if correlation >= 0.5:
        return "Pair: in step."
    return "Pair: opposed." if correlation <= -0.5 else "Pair: unrelated."
