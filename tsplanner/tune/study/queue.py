"""How trials are taken from a study that several processes share, and given back.

Everything here happens under the study's lock, so that no two processes take the same trial, none
overshoots the number that is wanted, and what a dead process had in flight is queued again once.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tsplanner import runs
from tsplanner.errors import TsplannerError
from tsplanner.tune.study.heartbeat import Crew
from tsplanner.tune.study.storage import Place, reason
from tsplanner.tune.study.trial_result import TrialState, state_of

SEED = "seed"
"""Attribute of a trial of the last word: the fresh seed it runs on."""
WORKER = "worker"
"""Attribute of a trial: who runs it."""
RETRY_OF = "retry of"
"""Attribute of a trial: the number of the one that was in flight when its worker died."""
STATE = "state"
"""Attribute of a trial that has ended; written after all others."""
WANTED = "trials of the search"
"""Attribute of the study: how many trials of the search it wants, of all workers together."""
LEADER = "leader"
"""Attribute of the study: the worker that decides in the end."""
OVER = "over"
"""Attribute of the study: the leader has decided, and wants no more trials."""
TOTAL = "trials"
"""Attribute of the study: how many that are with those of the last word."""
ASKS_PER_TRIAL = 4
"""Proposals that memory may refuse, for each trial that is wanted, before the search gives up."""
OUTCOME_FILE = "outcome.json"
"""In a trial's folder: how it ended, before the study was told."""
PATIENCE_SECONDS = 300.0
"""How long a storage that is away is tried again before the search ends."""
Answer = TypeVar("Answer")


class StorageGone(TsplannerError):
    """The study's storage stayed away."""


class Takes:
    """Trials of one study, taken by one process."""

    def __init__(
        self, study: Any, place: Place, folder: Path, *, patience: float = PATIENCE_SECONDS
    ) -> None:
        """``study`` is Optuna's; ``folder`` the run's."""
        self._study, self._place, self._folder = study, place, folder
        self._patience = patience
        self._threads = threading.RLock()
        self._mine: set[int] = set()
        self._away = False
        self._inside: int | None = None
        self.stop = threading.Event()
        """Set to end waiting for a storage that is away."""
        self.crew = Crew(lambda: self.quietly(lambda: study.user_attrs), self._set)

    def _set(self, key: str, value: Any) -> None:
        self.quietly(lambda: self._study.set_user_attr(key, value))

    def quietly(self, operation: Callable[[], Answer]) -> Answer:
        """An operation on the study, one thread at a time."""
        with self._threads:
            return operation()

    def steadily(self, operation: Callable[[], Answer]) -> Answer:
        """An operation under the study's lock, again and again while the storage is away.

        It may be repeated from its start. Raises StorageGone after PATIENCE_SECONDS.
        """
        began, told = time.monotonic(), False
        while True:
            try:
                return self._locked(operation)
            except Exception as error:
                if self._nested or not is_transient(error):
                    raise  # the outermost begins anew, with a lock that it surely has
                if not told and not self._away:
                    told = True
                    self._say(error)
                self.crew.forget_beats()
                tired = time.monotonic() - began > (0 if self._away else self._patience)
                if tired or self.stop.wait(min(5.0, self._patience / 10)):
                    self._away = True
                    raise self._gone(error) from None

    @property
    def _nested(self) -> bool:
        return self._inside == threading.get_ident()

    def _locked(self, operation: Callable[[], Answer]) -> Answer:
        with self._threads:
            if self._nested:
                return operation()
            with self._place.lock:
                self._inside = threading.get_ident()
                try:
                    answer = operation()
                finally:
                    self._inside = None
            self._away = False
            return answer

    def _say(self, error: Exception) -> None:
        again = f"trying again for {self._patience:.0f} s; trials go on"
        sys.stderr.write(f"{self._place.shown} is away ({reason(error)}): {again}.\n")

    def _gone(self, error: Exception) -> StorageGone:
        return StorageGone(
            f"{self._place.shown} was away for {self._patience:.0f} s ({reason(error)}): trials "
            "that ended are kept in the run folder; go on with  tsplanner tune --run-folder "
            f"{self._folder} --resume"
        )

    def trials(self) -> list[Any]:
        """All trials, as Optuna has them."""
        found: list[Any] = self._study.get_trials(deepcopy=False)
        return found

    def await_leader(self) -> None:
        """Wait until a leader on another host is known to live, or to be gone."""
        first: int | None = None
        while (name := self.steadily(self.leader)) is not None:
            member = self.steadily(self.crew.members)[name]
            if member.host == self.crew.me.host or first not in (None, member.beat):
                return
            first = member.beat
            if self.stop.wait(1.0):
                return

    def lead(self) -> int:
        """Take the lead; how many trials of workers that are gone were queued again.

        Raises TsplannerError if another process has it.
        """
        self.crew.enter()
        leader, me = self.leader(), self.crew.me.name
        if leader is not None and leader != me:
            raise TsplannerError(
                f"{leader} leads the search in {self._folder}: help it with  tsplanner tune --join "
                f"{self._folder}, or end it first (on another machine it counts as gone after "
                f"{self.crew.gone_seconds:.0f} s without a sign)."
            )
        self._study.set_user_attr(LEADER, me)
        self._study.set_user_attr(OVER, False)
        return self.reap()

    def leader(self) -> str | None:
        """The worker that decides in the end; None: it is gone."""
        name = self._study.user_attrs.get(LEADER)
        return None if self.crew.gone(name) else str(name)

    def next(self, distributions: dict[str, Any], wanted: int | None) -> Any:
        """Optuna's next trial: one that waits, or a new one of the search; None: none is left.

        ``wanted`` trials of the search at most are started by all workers; None: no end.
        """
        self.crew.enter()
        self.reap()
        trials = self.trials()
        if not any(trial.state.name == "WAITING" for trial in trials) and wanted is not None:
            search = [trial for trial in trials if SEED not in trial.user_attrs]
            refused = [one for one in search if told_state(one) is TrialState.REJECTED]
            if len(started(trials)) >= wanted or len(refused) >= (ASKS_PER_TRIAL - 1) * wanted:
                return None
        # Between these two lines a trial has no worker: whoever has the lock next takes that for
        # one whose worker died, as it did.
        trial = self._study.ask(fixed_distributions=distributions)
        trial.set_user_attr(WORKER, self.crew.me.name)
        self._mine.add(trial.number)
        return trial

    def queue(self, parameters: dict[str, Any], attributes: dict[str, Any]) -> None:
        """Let a trial with these parameters wait, unless one waits or runs already."""
        for trial in self.trials():
            open_ = trial.state.name in ("WAITING", "RUNNING")
            alike = all(trial.user_attrs.get(key) == value for key, value in attributes.items())
            if open_ and alike and parameters_of(trial) == parameters:
                return
        self._study.enqueue_trial(parameters, user_attrs=attributes)

    def reap(self) -> int:
        """Queue again what was in flight with workers that are gone; how many."""
        found = 0
        for trial in self.trials():
            if trial.state.name == "RUNNING" and self._lost(trial):
                found += self._put_back(trial)
        return found

    def _lost(self, trial: Any) -> bool:
        worker = trial.user_attrs.get(WORKER)
        if worker == self.crew.me.name:
            return trial.number not in self._mine
        return self.crew.gone(worker)

    def give_back(self, number: int) -> bool:
        """Queue a trial of this process again; False if it was tried again already."""
        trial = next(one for one in self.trials() if one.number == number)
        self._mine.discard(number)
        return RETRY_OF not in trial.user_attrs and self._put_back(trial)

    def _put_back(self, trial: Any) -> bool:
        """Whether a trial was queued again; one that had ended is told instead."""
        outcome = self._outcome(trial)
        if outcome is not None:
            self.finish(trial, outcome)
            return False
        parameters = parameters_of(trial)
        again = any(one.user_attrs.get(RETRY_OF) == trial.number for one in self.trials())
        if parameters and not again:
            # First the copy: a kill between the two is seen by whoever comes next.
            attributes = {RETRY_OF: trial.number}
            if SEED in trial.user_attrs:
                attributes[SEED] = trial.user_attrs[SEED]
            self._study.enqueue_trial(parameters, user_attrs=attributes)
        self._study.tell(trial.number, state=self._state("FAIL"))
        return bool(parameters)

    def _outcome(self, trial: Any) -> dict[str, Any] | None:
        """How a trial ended whose worker died before the study knew all of it."""
        if STATE in trial.user_attrs:
            return dict(trial.user_attrs)
        lines = runs.read_json_lines(self._folder / "trials" / str(trial.number) / OUTCOME_FILE)
        return dict(lines[-1]) if lines and STATE in lines[-1] else None

    def finish(self, trial: Any, outcome: dict[str, Any]) -> None:
        """Tell how a trial ended; one that has ended meanwhile stays as it is."""
        from optuna.exceptions import UpdateFinishedTrialError

        number = trial.number
        handle = next(one for one in self.trials() if one.number == number)
        if handle.state.is_finished():
            return  # told before the storage went away, or taken from us for dead
        keys = [key for key in outcome if key not in (STATE, WORKER, RETRY_OF, SEED)]
        storage, id_ = self._study._storage, handle._trial_id
        try:
            for key in (*keys, STATE):
                storage.set_trial_user_attr(id_, key, outcome[key])
            loss, ended = outcome.get("eval_loss"), self._state(outcome["ends as"])
            if ended.name == "COMPLETE":
                self._study.tell(number, loss)
            else:
                self._study.tell(number, state=ended)
        except UpdateFinishedTrialError:
            pass
        self._mine.discard(number)

    def busy_elsewhere(self) -> bool:
        """Whether trials wait, or run with other workers that live."""
        self.reap()
        return any(
            trial.state.name == "WAITING"
            or (trial.state.name == "RUNNING" and trial.number not in self._mine)
            for trial in self.trials()
        )

    def _state(self, name: str) -> Any:
        from optuna.trial import TrialState

        return TrialState[name]


def started(trials: list[Any]) -> list[Any]:
    """Trials of the search that count: under way, waiting, or ended after a start."""
    return [
        trial
        for trial in trials
        if SEED not in trial.user_attrs
        and (
            told_state(trial) not in (None, TrialState.REJECTED)
            or (not trial.state.is_finished() and told_state(trial) is None)
        )
    ]


def told_state(trial: Any) -> TrialState | None:
    """The state that was told of a trial; None if it has not ended."""
    word = trial.user_attrs.get(STATE)
    return None if word is None else state_of(word)


def parameters_of(trial: Any) -> dict[str, Any]:
    """A trial's parameters, also of one that waits or was killed while it was given them."""
    fixed = trial.system_attrs.get("fixed_params")
    return dict(fixed if fixed else trial.params)


def is_transient(error: BaseException) -> bool:
    """Whether an error is of the storage's place and may pass."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.exc import TimeoutError as PoolTimeout

    return isinstance(error, StorageInternalError | DBAPIError | PoolTimeout | OSError)
