"""How a search looks: a live table for a person, a line per trial in a pipe, nothing for --json."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Any, Self

from memory_models.settings import flat
from memory_models.units import GIB, counted
from tsplanner.commands.views.screen import interactive
from tsplanner.console import columns, fold, one_line, rich_console, visible
from tsplanner.planner.settings import LearningSettings
from tsplanner.report.text import duration
from tsplanner.tune.budget.words import schedule_words
from tsplanner.tune.flow import PreparedSearch
from tsplanner.tune.joining import JoinedSearch
from tsplanner.tune.search.acquisition import TRIALS_PER_PAIR, pairs_of
from tsplanner.tune.sentences import length_words
from tsplanner.tune.study.trial_result import Result, TrialState

AGAINST = "vs baseline"
HEADING = f"{'trial':>6}  {'rank':>4}  {'lr':>8}  {'epochs':>6}  {'eval loss':>9}  {AGAINST}  state"
BAR_WIDTH = 20
STATE_WORDS = {
    TrialState.COMPLETED: "done",
    TrialState.PRUNED: "stopped",
    TrialState.FAILED: "failed",
    TrialState.REJECTED: "not started",
}
NO_FORECAST = 0.5
"""Trials that must have run before the time that is left is told."""


@dataclass(slots=True)
class SearchView:
    """Keeps what it hears of a search and shows nothing; a listener of the search."""

    baseline_loss: float | None = None
    running: dict[int, tuple[LearningSettings, float, float | None]] = field(default_factory=dict)
    """Settings, progress and newest evaluation of the trials under way."""
    results: list[Result] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """Lines on trials that an accident ended."""
    began: float = field(default_factory=time.monotonic)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""

    def recall(self, results: list[Result]) -> None:
        """Show trials of an earlier part of this search."""
        for result in results:
            self.ended(result)

    def started(self, number: int, learning: LearningSettings) -> None:
        """Note that a trial has begun."""
        self.running[number] = (learning, 0.0, None)

    def progressed(self, number: int, progress: float, eval_loss: float | None) -> None:
        """Note the progress of a trial."""
        learning, _, newest = self.running[number]
        self.running[number] = (learning, progress, newest if eval_loss is None else eval_loss)

    def released(self, number: int, message: str) -> None:
        """Note that a trial waits to be run again under another number."""
        learning, _, _ = self.running.pop(number)
        columns = f"{settings_columns(number, learning)}  {'':>9}  {'':>{len(AGAINST)}}"
        self.lost.append(f"{columns}  tried again: {message}")

    def ended(self, result: Result) -> None:
        """Note that a trial has ended."""
        self.running.pop(result.number, None)
        if result.number == 0:
            self.baseline_loss = result.eval_loss
        self.results.append(result)

    def say(self, words: str) -> None:
        """Show a sentence between the trials."""


class PlainView(SearchView):
    """One line per trial, when it has ended."""

    def __enter__(self) -> Self:
        """Print the heading."""
        print(HEADING, flush=True)
        return self

    def ended(self, result: Result) -> None:
        """Print the trial's line."""
        super().ended(result)
        print(result_line(result, self.baseline_loss), flush=True)

    def released(self, number: int, message: str) -> None:
        """Print why the trial is run again."""
        super().released(number, message)
        print(self.lost[-1], flush=True)

    def say(self, words: str) -> None:
        """Print the sentence."""
        print(words, flush=True)


class LiveView(SearchView):
    """The whole table, redrawn as it changes."""

    def __init__(self, trials: int | None) -> None:
        """``trials`` is the number there will be; None: the time decides."""
        super().__init__()
        self.trials = trials
        self._live: Any = None

    def __enter__(self) -> Self:
        """Take over the lower part of the terminal."""
        from rich.live import Live

        console = rich_console(sys.stdout)
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=4)
        self._live.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        """Leave the last table on the screen."""
        self._live.__exit__(*details)

    def say(self, words: str) -> None:
        """Print the sentence above the table."""
        self._live.console.print(visible(words))

    def _table(self) -> Any:
        from rich.text import Text

        done = sorted(self.results, key=lambda result: result.number)
        lines = [*self.lost, *(result_line(result, self.baseline_loss) for result in done)]
        lines += [running_line(number, *state) for number, state in sorted(self.running.items())]
        most = columns(sys.stdout)
        pieces = [fold(one_line(line), most) for line in (HEADING, *lines, self._foot())]
        return Text("\n".join(piece for line in pieces for piece in line))

    def _foot(self) -> str:
        ended = sum(result.state is not TrialState.REJECTED for result in self.results)
        part = sum(progress for _, progress, _ in self.running.values())
        elapsed = time.monotonic() - self.began
        if self.trials is None:
            return f"{counted(ended, 'trial')}, {duration(elapsed)}"
        words = f"{ended} of {counted(self.trials, 'trial')}, {duration(elapsed)}"
        if ended + part > NO_FORECAST:
            words += f", about {duration(elapsed * (self.trials / (ended + part) - 1))} left"
        return words


def view_for(trials: int | None, *, as_json: bool) -> SearchView:
    """A live table, plain lines, or nothing; ``trials`` None: the time decides their number."""
    if as_json:
        return SearchView()
    return LiveView(trials) if interactive() else PlainView()


def result_line(result: Result, baseline_loss: float | None) -> str:
    """The line of a trial that has ended."""
    loss = "" if result.eval_loss is None else f"{result.eval_loss:.4f}"
    against = ""
    fresh = result.seed is not None
    if result.number and not fresh and result.eval_loss is not None and baseline_loss is not None:
        against = f"{result.eval_loss - baseline_loss:+.4f}"
    words = result.message or STATE_WORDS[result.state]
    remark = f"      seed {result.seed}" if fresh else ""
    remark = "      baseline" if result.number == 0 else remark
    columns = settings_columns(result.number, result.learning)
    return f"{columns}  {loss:>9}  {against:>{len(AGAINST)}}  {words}{remark}"


def running_line(
    number: int, learning: LearningSettings, progress: float, newest: float | None
) -> str:
    """The line of a trial under way."""
    full = round(progress * BAR_WIDTH)
    bar = "━" * full + "╺" * (BAR_WIDTH - full)
    epochs, steps = learning.optimization.num_train_epochs, learning.cadence.max_steps
    epoch = f"epoch {progress * epochs:.1f}/{epochs}"
    if steps is not None:
        epoch = f"step {round(progress * steps)}/{steps}"
    loss = "" if newest is None else f"{newest:.4f}"
    columns = settings_columns(number, learning)
    return f"{columns}  {loss:>9}  {'':>{len(AGAINST)}}  {bar} {epoch}"


def settings_columns(number: int, learning: LearningSettings) -> str:
    """The columns with the settings of a trial."""
    by_steps = learning.cadence.max_steps is not None
    epochs = "-" if by_steps else learning.optimization.num_train_epochs
    return (
        f"{number:>6}  {learning.method.lora_rank:>4}  {learning.optimization.learning_rate:>8.1e}"
        f"  {epochs:>6}"
    )


def opening_lines(prepared: PreparedSearch) -> list[str]:
    """What is searched, and how."""
    lines = [space_line(prepared), given_line(prepared), f"{extent_words(prepared)}."]
    lines += [unconfirmed_line(prepared), prepared.sharing.sentence]
    return [line for line in lines if line]


def given_line(prepared: PreparedSearch) -> str:
    """What was given to plan and is kept, one value each; empty if nothing is."""
    planned, baseline = prepared.opened.trial_plan.learning, prepared.study.encoding.baseline
    space, optimization = prepared.study.encoding.space, planned.optimization
    words = {
        "lora_rank": (f"rank {planned.method.lora_rank}", len(space.lora_ranks)),
        "learning_rate": (f"lr {optimization.learning_rate:.1e}", len(set(space.learning_rate))),
        "num_train_epochs": (f"epochs {optimization.num_train_epochs}", len(space.epochs)),
        "max_steps": (f"{planned.cadence.max_steps} steps", 1),
    }
    before, now = flat(planned), flat(baseline)
    kept = [
        word
        for name, (word, choices) in words.items()
        if name in planned.given and choices == 1 and before[name] == now[name]
    ]
    return f"Kept as given to plan: {', '.join(kept)}." if kept else ""


def unconfirmed_line(prepared: PreparedSearch) -> str:
    """That so few trials prove nothing; empty where some are kept for it."""
    if prepared.controller is not None or pairs_of(prepared.trials):
        return ""
    return (
        f"So few trials leave none to confirm the best settings on fresh seeds: the baseline "
        f"stays ({TRIALS_PER_PAIR} or more confirm)."
    )


def space_line(prepared: PreparedSearch) -> str:
    """The baseline and the search space."""
    encoding = prepared.study.encoding
    low, high = encoding.space.learning_rate
    found, learning = encoding.space.lora_ranks, encoding.baseline
    ranks = f"rank {', '.join(map(str, found))}; " if found else ""
    epochs = f"epochs {', '.join(map(str, encoding.space.epochs))}, read along the trials"
    if learning.cadence.max_steps is not None:
        epochs = f"{length_words(learning)} each"
    rate = learning.optimization.learning_rate
    return (
        f"Baseline: rank {learning.method.lora_rank}, lr {rate:.1e}, {length_words(learning)} "
        f"({counted(prepared.opened.trial_plan.dataset.lengths.rows_kept, 'row')}).   "
        f"Space: {ranks}lr {low:.1e} to {high:.1e}; {epochs}."
    )


def extent_words(prepared: PreparedSearch) -> str:
    """How many trials run, and how many at once."""
    controller, shared = prepared.controller, prepared.sharing.multi_lora
    if controller is not None:
        return schedule_words(controller.schedule, controller.costs, controller.budget.seconds)
    together = 1 if shared is None else shared.max_concurrent_trials
    memory = prepared.opened.trial_plan.memory.process_bytes.upper / GIB
    at_once = at_once_words(prepared.opened.slots.jobs * together)
    at_once += f", up to {memory:.2f} GiB each" if together == 1 else ""
    pairs = pairs_of(prepared.trials)
    last = f"; {2 * pairs} of them at most for the confirmation on fresh seeds" if pairs else ""
    return f"{counted(prepared.trials, 'trial')}{last}; {at_once}"


def at_once_words(count: int) -> str:
    """How many trials run at once."""
    return f"{count} at once" if count > 1 else "one at a time"


def helping_line(joined: JoinedSearch) -> str:
    """Whom this process helps, and how many trials it runs at once."""
    words = joined.sharing.sentence or f"{at_once_words(joined.slots.jobs)}."
    return f"Helping {joined.leader} with the search in {joined.study.folder}; {words}"
