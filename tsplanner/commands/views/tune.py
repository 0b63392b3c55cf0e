"""How a search looks: a live table for a person, a line a trial in a pipe, nothing for --json."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Any

from tsplanner.planner.plan import LearningSettings, Plan
from tsplanner.report.text import duration
from tsplanner.tune.runner.slots import Slots
from tsplanner.tune.search.acquisition import pairs_of
from tsplanner.tune.search.encoding import Places
from tsplanner.tune.study.trial_result import Result, TrialState

HEADING = (
    f"{'trial':>6}  {'rank':>4}  {'lr':>8}  {'epochs':>6}  {'eval loss':>9}  {'vs prior':>8}  state"
)
BAR_WIDTH = 20
STATE_WORDS = {
    TrialState.COMPLETED: "done",
    TrialState.PRUNED: "stopped",
    TrialState.FAILED: "failed",
    TrialState.REJECTED: "not started",
}


@dataclass(slots=True)
class QuietView:
    """Keeps what it is told and shows nothing."""

    prior_loss: float | None = None
    running: dict[int, tuple[LearningSettings, float, float | None]] = field(default_factory=dict)
    """Settings, progress and newest evaluation of the trials under way."""
    results: list[Result] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """Lines on trials that an accident ended."""
    began: float = field(default_factory=time.monotonic)

    def __enter__(self) -> QuietView:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""

    def recall(self, results: list[Result]) -> None:
        """Trials of an earlier part of this search."""
        for result in results:
            self.ended(result)

    def started(self, number: int, learning: LearningSettings) -> None:
        """A trial has begun."""
        self.running[number] = (learning, 0.0, None)

    def progressed(self, number: int, progress: float, eval_loss: float | None) -> None:
        """A trial moved on."""
        learning, _, newest = self.running[number]
        self.running[number] = (learning, progress, newest if eval_loss is None else eval_loss)

    def given_back(self, number: int, message: str) -> None:
        """A trial waits to be run again under another number."""
        learning, _, _ = self.running.pop(number)
        self.lost.append(f"{settings(number, learning)}  {'':>9}  {'':>8}  tried again: {message}")

    def ended(self, result: Result) -> None:
        """A trial is over."""
        self.running.pop(result.number, None)
        if result.number == 0:
            self.prior_loss = result.eval_loss
        self.results.append(result)

    def say(self, words: str) -> None:
        """A sentence between the trials."""


class PlainView(QuietView):
    """One line a trial, when it is over."""

    def __enter__(self) -> PlainView:
        """Print the heading."""
        print(HEADING, flush=True)
        return self

    def ended(self, result: Result) -> None:
        """Print the trial's line."""
        super().ended(result)
        print(result_line(result, self.prior_loss), flush=True)

    def given_back(self, number: int, message: str) -> None:
        """Print why it is run again."""
        super().given_back(number, message)
        print(self.lost[-1], flush=True)

    def say(self, words: str) -> None:
        """Print it."""
        print(words, flush=True)


class LiveView(QuietView):
    """The whole table, redrawn as it changes."""

    def __init__(self, trials: int | None) -> None:
        """``trials``: how many there will be; None: by the time."""
        super().__init__()
        self.trials = trials
        self._live: Any = None

    def __enter__(self) -> LiveView:
        """Take over the lower part of the terminal."""
        from rich.console import Console
        from rich.live import Live

        console = Console(file=sys.stdout, highlight=False)
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=4)
        self._live.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        """Leave the last table on the screen."""
        self._live.__exit__(*details)

    def say(self, words: str) -> None:
        """Above the table."""
        self._live.console.print(words)

    def _table(self) -> Any:
        from rich.text import Text

        done = sorted(self.results, key=lambda result: result.number)
        lines = [*self.lost, *(result_line(result, self.prior_loss) for result in done)]
        lines += [running_line(number, *state) for number, state in sorted(self.running.items())]
        return Text("\n".join([HEADING, *lines, self._foot()]))

    def _foot(self) -> str:
        ended = len([result for result in self.results if result.state is not TrialState.REJECTED])
        part = sum(progress for _, progress, _ in self.running.values())
        elapsed = time.monotonic() - self.began
        if self.trials is None:
            return f"{ended} trials, {duration(elapsed)}"
        words = f"{ended} of {self.trials} trials, {duration(elapsed)}"
        if ended + part > 0.5:
            words += f", about {duration(elapsed * (self.trials / (ended + part) - 1))} left"
        return words


def result_line(result: Result, prior_loss: float | None) -> str:
    """One trial that is over."""
    loss = "" if result.eval_loss is None else f"{result.eval_loss:.4f}"
    against = ""
    fresh = result.seed is not None
    if result.number and not fresh and result.eval_loss is not None and prior_loss is not None:
        against = f"{result.eval_loss - prior_loss:+.4f}"
    words = result.message or STATE_WORDS[result.state]
    remark = "      prior" if result.number == 0 else f"      seed {result.seed}" if fresh else ""
    return f"{settings(result.number, result.learning)}  {loss:>9}  {against:>8}  {words}{remark}"


def running_line(
    number: int, learning: LearningSettings, progress: float, newest: float | None
) -> str:
    """One trial under way."""
    full = round(progress * BAR_WIDTH)
    bar = "━" * full + "╺" * (BAR_WIDTH - full)
    epoch = f"epoch {progress * learning.num_train_epochs:.1f}/{learning.num_train_epochs}"
    loss = "" if newest is None else f"{newest:.4f}"
    return f"{settings(number, learning)}  {loss:>9}  {'':>8}  {bar} {epoch}"


def settings(number: int, learning: LearningSettings) -> str:
    """The columns that say what a trial tries."""
    return (
        f"{number:>6}  {learning.lora_rank:>4}  {learning.learning_rate:>8.1e}"
        f"  {learning.num_train_epochs:>6}"
    )


def opening_lines(
    plan: Plan, where: Places, width: Slots, trials: int, together: int = 1
) -> list[str]:
    """What is searched and how; ``together``: trials that share a base."""
    low, high = where.space.learning_rate
    found, learning = where.space.lora_ranks, where.default
    ranks = f"rank {', '.join(map(str, found))}; " if found else ""
    epochs = ", ".join(map(str, where.space.epochs))
    memory = plan.memory.process_bytes.upper / 2**30
    count = width.jobs * together
    at_once = f"{count} at once" if count > 1 else "one at a time"
    at_once += f", up to {memory:.2f} GiB each" if together == 1 else ""
    pairs = pairs_of(trials)
    last = f"; {2 * pairs} of them at most for the last word on fresh seeds" if pairs else ""
    return [
        f"Prior: rank {learning.lora_rank}, lr {learning.learning_rate:.1e}, "
        f"{learning.num_train_epochs} epochs ({plan.dataset.rows_kept} rows).   "
        f"Space: {ranks}lr {low:.1e} to {high:.1e}; epochs {epochs}, read along the trials.",
        f"{trials} trials{last}; {at_once}.",
    ]
