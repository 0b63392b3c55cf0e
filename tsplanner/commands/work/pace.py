"""How a run goes on: loss, speed and the time that is left, from the lines of metrics.jsonl."""

from __future__ import annotations

from collections import deque
from typing import Any

from tsplanner.report.text import duration

RECENT_STEPS = 20
"""Steps that the speed is a mean of: single ones jitter, and older ones may be of another load."""
LINES = 20
"""Lines that a whole run writes into a pipe, beside those of evaluations."""


class Pace:
    """The newest figures of a run of ``total`` optimizer steps.

    ``tokens_per_step``: mean over the rows of the plan; None: not known.
    """

    def __init__(self, total: int, tokens_per_step: float | None = None) -> None:
        self.total, self.tokens_per_step = total, tokens_per_step
        self.step = 0
        self._loss: float | None = None
        self._evaluated: float | None = None
        self._times: deque[tuple[int, float]] = deque(maxlen=RECENT_STEPS + 1)
        """(step, seconds since the start) of the newest steps."""

    def see(self, row: dict[str, Any]) -> None:
        """Take in a line: of a step, or of an evaluation."""
        self.step = int(row.get("step") or 0)
        if row.get("eval_loss") is not None:
            self._evaluated = float(row["eval_loss"])
            self._times.clear()  # the seconds of an evaluation are no step's
        if row.get("loss") is not None:
            self._loss = float(row["loss"])
        seconds = row.get("seconds")
        if seconds is None:
            return
        if self._times and (self.step <= self._times[-1][0] or seconds < self._times[-1][1]):
            self._times.clear()  # a resumed run counts anew
        self._times.append((self.step, float(seconds)))

    @property
    def step_seconds(self) -> float | None:
        """Mean seconds of the newest steps; None before there are two lines."""
        if len(self._times) < 2:
            return None
        (first, began), (last, ended) = self._times[0], self._times[-1]
        return (ended - began) / (last - first)

    @property
    def words(self) -> str:
        """What is known so far, in a few words."""
        found = [] if self._loss is None else [f"loss {self._loss:.3f}"]
        step = self.step_seconds
        if step:
            found.append(f"{step:.3g} s/step")
            if self.tokens_per_step is not None:
                found.append(f"{self.tokens_per_step / step:,.0f} tokens/s")
            if self.step < self.total:
                found.append(f"about {duration((self.total - self.step) * step)} left")
        if self._evaluated is not None:
            found.append(f"eval {self._evaluated:.3f}")
        return " · ".join(found)

    @property
    def is_worth_a_line(self) -> bool:
        """Whether a pipe is told of this step: some twenty times in a run."""
        every = max(1, self.total // LINES)
        return self.step > 0 and (self.step % every == 0 or self.step == self.total)
