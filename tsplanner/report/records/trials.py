"""The trials of a search, as their folders have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from memory_models.frozen import frozen
from tsplanner import runs
from tsplanner.reading import decoded, read_text
from tsplanner.report.records.metric_lines import Points, points
from tsplanner.training.record import parse_record

TRIALS = "trials"


@frozen
class Trial:
    """One trial: what it tried, how it ended, and its held-out losses."""

    number: int
    rank: int
    learning_rate: float
    epochs: float
    seed: int
    status: str | None
    """None: it has no record, for it was stopped or is still running."""
    evaluations: Points
    """(step, held-out loss in nats per token), the untrained model's apart."""
    step: float = 0
    """The newest step."""

    @property
    def best(self) -> float | None:
        """The lowest held-out loss; None: nothing was evaluated."""
        return min((loss for _, loss in self.evaluations), default=None)


def read_trials(folder: Path) -> tuple[Trial, ...]:
    """The trials beside a run, by their numbers; what cannot be read is left out."""
    places = [place for place in (folder / TRIALS).glob("*") if place.name.isdecimal()]
    found = [_trial(place) for place in sorted(places, key=lambda place: int(place.name))]
    return tuple(trial for trial in found if trial is not None)


def _trial(folder: Path) -> Trial | None:
    try:
        learning: Any = decoded(read_text(folder / "job.json"))["plan"]["learning"]
        lines, _ = runs.sound_lines(folder / "metrics.jsonl")
        return Trial(
            number=int(folder.name),
            rank=int(learning["method"]["lora_rank"]),
            learning_rate=float(learning["optimization"]["learning_rate"]),
            epochs=float(learning["optimization"]["num_train_epochs"]),
            seed=int(learning["seed"]),
            status=_status(folder),
            evaluations=tuple(point for point in points(lines, "eval_loss") if point[0] > 0),
            step=max((step for step, _ in points(lines, "seconds")), default=0),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _status(folder: Path) -> str | None:
    try:
        return str(parse_record((folder / "record.json").read_bytes()).status)
    except (OSError, ValueError, msgspec.MsgspecError):
        return None
