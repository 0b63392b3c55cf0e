"""The verdict on a curve of held-out losses: best epoch, over-fitting, oscillation. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise

from memory_models.frozen import frozen
from tsplanner.training.record import Record

EVEN = 0.01
"""Without a standard error, changes under this share of the best loss count as noise. On 40
held-out answers of 50 tokens one standard error is about 1 %."""
FEWEST = 3
"""A curve of fewer evaluations has no trend."""
REVERSALS = 2
"""This number of turns, each larger than the noise, is an oscillation."""


class CurveState(StrEnum):
    """How a held-out loss developed."""

    TOO_FEW = "too few evaluations"
    FALLING = "still falling"
    LEVEL = "level"
    OVERFITTING = "over-fitting"
    OSCILLATING = "oscillating"


@frozen
class EvalPoint:
    """One evaluation on the held-out rows."""

    epoch: float
    loss: float
    """In nats per token."""


@frozen
class CurveVerdict:
    """The verdict on the held-out losses of a run."""

    state: CurveState
    best_epoch: float | None
    """Epoch with the lowest loss, at which to stop; None: nothing was evaluated."""
    best_loss: float | None
    last_epoch: float | None
    rise: float
    """Last loss minus the best in nats per token; 0 where the last is the best."""
    reversals: int
    """Number of turns that are larger than the noise."""
    swing: float
    """Largest change since the previous turn in nats per token; 0 without reversals."""
    sentences: tuple[str, ...]

    @property
    def overfits(self) -> bool:
        """Whether the loss rose after its best epoch and stayed higher."""
        return self.state is CurveState.OVERFITTING


def eval_points(rows: Iterable[Mapping[str, object]]) -> list[EvalPoint]:
    """Evaluations among the lines of metrics.jsonl: those with ``epoch`` and ``eval_loss``."""
    found = []
    for row in rows:
        epoch, loss = row.get("epoch"), row.get("eval_loss")
        if not isinstance(epoch, int | float) or not isinstance(loss, int | float):
            continue
        if math.isfinite(loss):
            found.append(EvalPoint(epoch=float(epoch), loss=float(loss)))
    return found


def record_points(record: Record) -> list[EvalPoint]:
    """Evaluations in the record of a run, with the one before the first step."""
    start = record.losses.start_eval_loss
    first = [] if start is None else [EvalPoint(epoch=0.0, loss=start)]
    return first + [
        EvalPoint(epoch=each.epoch, loss=each.loss) for each in record.losses.evaluations
    ]


def overfitting(points: Sequence[EvalPoint], standard_error: float | None = None) -> CurveVerdict:
    """The verdict on evaluations in the order they were made.

    ``standard_error`` is that of one evaluation in nats per token; None: EVEN times the best loss.
    A curve over-fits where the last loss, and the mean of all losses after the best one, are higher
    than the best loss by more than that. A curve oscillates where it turns at least REVERSALS times
    by more than that.
    """
    if not points:
        return _verdict(CurveState.TOO_FEW, None, points, 0, 0.0)
    best = min(points, key=lambda point: point.loss)
    noise = EVEN * abs(best.loss) if standard_error is None else standard_error
    reversals, swing = _turns([point.loss for point in points], noise)
    if len(points) < FEWEST:
        state = CurveState.TOO_FEW
    elif reversals >= REVERSALS:
        state = CurveState.OSCILLATING
    elif _rose(points, best, noise):
        state = CurveState.OVERFITTING
    elif best is points[-1] and points[-2].loss - best.loss > noise:
        state = CurveState.FALLING
    else:
        state = CurveState.LEVEL
    return _verdict(state, best, points, reversals, swing)


def _rose(points: Sequence[EvalPoint], best: EvalPoint, noise: float) -> bool:
    after = [point.loss for point in points[list(points).index(best) + 1 :]]
    if not after:
        return False
    return min(after[-1], sum(after) / len(after)) > best.loss + noise


def _turns(losses: Sequence[float], noise: float) -> tuple[int, float]:
    """(Number of turns, the largest turn); a turn leaves the last extreme by more than the noise.

    The first descent does not count, because a run starts high.
    """
    extreme, falling, turns, largest = losses[0], True, 0, 0.0
    for before, loss in pairwise(losses):
        extreme = min(extreme, before) if falling else max(extreme, before)
        back = loss - extreme if falling else extreme - loss
        if back > noise:
            turns, largest = turns + 1, max(largest, back)
            falling, extreme = not falling, loss
    return turns, largest


def _verdict(
    state: CurveState,
    best: EvalPoint | None,
    points: Sequence[EvalPoint],
    reversals: int,
    swing: float,
) -> CurveVerdict:
    rise = 0.0 if best is None else points[-1].loss - best.loss
    return CurveVerdict(
        state=state,
        best_epoch=None if best is None else best.epoch,
        best_loss=None if best is None else best.loss,
        last_epoch=points[-1].epoch if points else None,
        rise=rise,
        reversals=reversals,
        swing=swing,
        sentences=_sentences(state, best, rise, swing),
    )


def _sentences(
    state: CurveState,
    best: EvalPoint | None,
    rise: float,
    swing: float,
) -> tuple[str, ...]:
    """What a person reads, with the epoch to stop at where there is one."""
    if best is None:
        return ("Nothing was evaluated, so over-fitting cannot be seen.",)
    best_words = f"The held-out loss was lowest, {best.loss:.4f}, after epoch {best.epoch:.3g}"
    after = {
        CurveState.TOO_FEW: f"{best_words}; too few evaluations for a trend.",
        CurveState.FALLING: f"{best_words}, the last, and still falling: more epochs may help.",
        CurveState.LEVEL: f"{best_words}, and changed by no more than noise around it.",
        CurveState.OVERFITTING: (
            f"{best_words}, and rose by {rise:.4f} to the end: stop at epoch {best.epoch:.3g}."
        ),
        CurveState.OSCILLATING: (
            f"{best_words}, but it goes up and down by up to {swing:.4f}: lower the learning rate, "
            f"or take the weights of epoch {best.epoch:.3g}."
        ),
    }
    return (after[state],)
