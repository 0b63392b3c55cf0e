"""Keeps a search to its estimated time: times its trials, and says what still has room."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from memory_models.frozen import frozen
from tsplanner.planner.settings import LearningSettings
from tsplanner.training.record import parse_record, record_file
from tsplanner.tune.budget.costs import Costs
from tsplanner.tune.budget.schedule import (
    OVERRUN,
    Schedule,
    max_searched,
    pairs_for,
    room_for_pairs,
    room_for_trial,
    schedule,
)
from tsplanner.tune.confirmation import Decision, confirm, without_trials
from tsplanner.tune.runner.runner import Search
from tsplanner.tune.study.study import Study
from tsplanner.tune.study.trial_result import Result, TrialState

NOTABLE = 0.03
"""Relative change of the estimated time below which a new estimate is no news."""


@frozen
class Budget:
    """What a search may take."""

    seconds: float
    """Seconds of everything, the full run included."""
    max_trials: int
    """Largest number of trials of search and confirmation."""
    began: float
    """The moment that the budget counts from, by the clock that the controller reads."""


class BudgetController:
    """Spends one budget, as a listener of its search. The threads of the search call it."""

    def __init__(
        self,
        costs: Costs,
        budget: Budget,
        *,
        trials_folder: Path,
        always_renews: bool,
        on_renewal: Callable[[Schedule, Costs], None] = lambda schedule, costs: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """``always_renews``: the costs are a prediction, so the first trial renews the schedule in
        any case; else the first trial renews it only if the machine turns out faster or slower.

        ``on_renewal`` hears of a new schedule; ``now`` reads the clock.
        """
        self.costs, self.budget, self.folder, self.now = costs, budget, trials_folder, now
        self.inside: Callable[[Path], float | None] = inside_seconds
        """Reads what the own clock of a trial in a folder showed."""
        self.schedule = schedule(costs, budget.seconds, budget.max_trials)
        self.first_estimate_seconds = self.schedule.seconds
        self.on_renewal = on_renewal
        self.startup_seconds: float | None = None
        """Seconds until the first trial began to load, once that is known."""
        self._searching = True
        """False while the confirmation runs."""
        self._confirmed_trials: int | None = None
        """Trials on fresh seeds, once there was a confirmation and the search goes on."""
        self._always_renews, self._first = always_renews, True
        self._starts: dict[int, float] = {}
        self._firsts: set[int] = set()
        """Trials of the first round, which waited for the imports."""
        self._inside: list[float] = []
        self._overheads: list[float] = []
        self._lock = threading.Lock()

    @property
    def estimate_seconds(self) -> float:
        """Seconds of the whole command, as last estimated."""
        return self.schedule.seconds

    def took(self) -> float:
        """Seconds since the budget began."""
        return self.now() - self.budget.began

    def left(self) -> float:
        """Seconds until what is planned has to give way."""
        return min(self.budget.seconds, OVERRUN * self.estimate_seconds) - self.took()

    def wanted(self, started: int) -> int:
        """Number of trials that the search should want in all if ``started`` were started."""
        with self._lock:
            pairs = pairs_for(started + 1, self.budget.max_trials) if self.schedule.pairs else 0
            most = max_searched(self.budget.max_trials)
            if self._confirmed_trials is not None:  # what the first confirmation left over
                # Two of the trials that are left are kept for one more pair.
                pairs, most = min(1, pairs), self.budget.max_trials - self._confirmed_trials - 2
            room = room_for_trial(self.costs, self.left(), pairs)
            return most if self._searching and room and started < most else started

    def affords_pairs(self, pairs: int) -> bool:
        """Whether ``pairs`` pairs of the confirmation may start."""
        return room_for_pairs(self.costs, self.left(), pairs)

    def started(self, number: int, learning: LearningSettings) -> None:
        """Note when a trial began."""
        with self._lock:
            if len(self._starts) < self.costs.max_concurrent_trials:
                self._firsts.add(number)
            self._starts[number] = self.now()

    def progressed(self, number: int, progress: float, eval_loss: float | None) -> None:
        """Ignore the progress of a trial."""

    def released(self, number: int, message: str) -> None:
        """Ignore a trial that will be run again."""

    def ended(self, result: Result) -> None:
        """Learn from what a completed trial took."""
        with self._lock:
            # A pruned trial took less than a whole one, and another process's
            # trial was not timed here.
            if result.state is not TrialState.COMPLETED or result.number not in self._starts:
                return
            self._learn(result.number, self.now())
            if self._first:
                self._first = False
                self._renew()

    def _renew(self) -> None:
        """Estimate anew by what the first trial took, and tell if that changes the schedule."""
        begun = len(self._starts)
        renewed = schedule(self.costs, self.budget.seconds, self.budget.max_trials)
        if renewed.searched < begun:  # trials are so slow that these would not have been begun
            whole = self.took() + self.costs.full_seconds
            renewed = Schedule(searched=begun, pairs=0, seconds=whole)
        change = abs(renewed.seconds / self.estimate_seconds - 1)
        if self._always_renews or change > NOTABLE:
            self.schedule = renewed
            self.on_renewal(renewed, self.costs)

    def _learn(self, number: int, ended: float) -> None:
        wall = ended - self._starts[number]
        inside = min(wall, self.inside(self.folder / str(number)) or wall)
        self._inside.append(inside)
        overhead = self.costs.overheads.trial_seconds
        if number in self._firsts:
            startup = max(0.0, ended - inside - overhead - self.budget.began)
            known = self.startup_seconds
            self.startup_seconds = startup if known is None else min(known, startup)
            self.costs = self.costs.started(self.startup_seconds)
        else:
            self._overheads.append(wall - inside)
            overhead = statistics.fmean(self._overheads)
        self.costs = self.costs.measured(statistics.fmean(self._inside), overhead)

    def decide(self, study: Study, search: Search) -> Decision | None:
        """Search and confirm within the budget; None if trials ended and none of them completed.

        A confirmation that needs less time than was kept for it leaves the rest to further trials;
        what it has proven stays, unless other settings are proven on fresh seeds after it.
        """
        if not self.schedule.searched:
            return without_trials(study.encoding.baseline)
        # Each trial that ends changes what there is room for, so the number follows at each claim.
        search.source.before_claim = lambda: study.workers.update_wanted(self.wanted)
        known, proven = -1, None
        while True:
            decision, searched = self._round(study, search)
            if decision is None and not study.results():
                # The start took the time of the first trial: what is left is for the full run.
                return without_trials(study.encoding.baseline)
            if decision is not None and decision.is_confirmed:
                proven = decision
            # A round without a further trial of the search has nothing new to confirm.
            if decision is None or known == searched:
                return proven or decision
            known = searched
            self._confirmed_trials = sum(one.seed is not None for one in study.results())

    def _round(self, study: Study, search: Search) -> tuple[Decision | None, int]:
        """One search and one confirmation: the decision, and the number of searched trials."""
        self._searching = True
        # `wanted` says how many trials there are; this number says how many share a base.
        search.run(max(1, self.schedule.searched - _searched(study.results())))
        self._searching = False
        searched = _searched(study.results())
        pairs = pairs_for(searched, self.budget.max_trials)
        return confirm(study, search, pairs, self.affords_pairs), searched


def _searched(results: list[Result]) -> int:
    """Number of trials of the search that were started."""
    return sum(one.seed is None and one.state is not TrialState.REJECTED for one in results)


def inside_seconds(folder: Path) -> float | None:
    """Seconds of loading and training by a trial's own clock; None if it left no record."""
    with contextlib.suppress(OSError, msgspec.DecodeError):
        record = parse_record(record_file(folder, 0).read_bytes())
        return (record.timing.load_seconds or 0.0) + record.timing.seconds
    return None
