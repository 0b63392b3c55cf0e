"""How a run goes on: loss, speed and the time that is left, from the lines of metrics.jsonl."""

from __future__ import annotations

from collections import deque
from typing import Any

from tsplanner.planner.plan import Plan
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
        self.epoch = 0.0
        self.loss: float | None = None
        """Of the newest step, nats per token."""
        self.evaluated: float | None = None
        """The newest held-out loss, nats per token."""
        self.process_bytes: int | None = None
        """Peak of the first process so far; None: no line has said it yet."""
        self._times: deque[tuple[int, float]] = deque(maxlen=RECENT_STEPS + 1)
        """(step, seconds since the start) of the newest steps."""
        self._before: float | None = None
        """Seconds of a step before the newest evaluation."""

    def see(self, row: dict[str, Any]) -> None:
        """Take in a line: of a step, or of an evaluation."""
        self.step = int(row.get("step") or 0)
        self.epoch = float(row.get("epoch") or 0.0)
        if row.get("process_bytes") is not None:
            self.process_bytes = int(row["process_bytes"])
        if row.get("eval_loss") is not None:
            self.evaluated = float(row["eval_loss"])
            # The seconds of an evaluation are no step's; until the next steps the old speed holds.
            self._before = self.step_seconds
            self._times.clear()
        if row.get("loss") is not None:
            self.loss = float(row["loss"])
        seconds = row.get("seconds")
        if seconds is None:
            return
        if self._times and (self.step <= self._times[-1][0] or seconds < self._times[-1][1]):
            self._before = None
            self._times.clear()  # a resumed run counts anew
        self._times.append((self.step, float(seconds)))

    @property
    def step_seconds(self) -> float | None:
        """Mean seconds of the newest steps; None before there are two lines."""
        if len(self._times) < 2:
            return self._before
        (first, began), (last, ended) = self._times[0], self._times[-1]
        return (ended - began) / (last - first)

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens of all devices together; None: not known."""
        step = self.step_seconds
        return self.tokens_per_step / step if step and self.tokens_per_step is not None else None

    @property
    def seconds_left(self) -> float | None:
        """Seconds of the steps that are left; None: none are, or their time is not known."""
        step = self.step_seconds
        return (self.total - self.step) * step if step and self.step < self.total else None

    @property
    def words(self) -> str:
        """What is known so far, in a few words."""
        found = [] if self.loss is None else [f"loss {self.loss:.3f}"]
        if step := self.step_seconds:
            found.append(f"{step:.3g} s/step")
        if (tokens := self.tokens_per_second) is not None:
            found.append(f"{tokens:,.0f} tokens/s")
        if (left := self.seconds_left) is not None:
            found.append(f"about {duration(left)} left")
        if self.evaluated is not None:
            found.append(f"eval {self.evaluated:.3f}")
        return " · ".join(found)

    @property
    def is_worth_a_line(self) -> bool:
        """Whether a pipe is told of this step: some twenty times in a run."""
        every = max(1, self.total // LINES)
        return self.step > 0 and (self.step % every == 0 or self.step == self.total)


def tokens_per_step(plan: Plan) -> float | None:
    """Mean positions of the rows of an optimizer step, without padding; None: no rows are known."""
    lengths = plan.dataset.lengths
    return lengths.mean * plan.hardware.effective_batch_size if lengths.rows_kept else None


def pace_of(plan: Plan) -> Pace:
    """The pace of a plan's run, before its first line."""
    return Pace(plan.time.total_steps, tokens_per_step(plan))
