"""The queue of trials of a study that several processes share: claim, release, requeue.

Everything here happens under the study's lock, so that no two processes claim the same trial, no
process overshoots the number of trials that is wanted, and what a dead process had in flight is
queued again once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from tsplanner import runs
from tsplanner.tune.study.access import StudyAccess
from tsplanner.tune.study.heartbeat import WorkerRegistry
from tsplanner.tune.study.sound import is_sound
from tsplanner.tune.study.trial_result import TrialState, state_of

SEED = "seed"
"""Attribute of a trial of the confirmation: the fresh seed it runs on."""
WORKER = "worker"
"""Attribute of a trial: the worker that runs it."""
RETRY_OF = "retry of"
"""Attribute of a trial: the number of the trial that was in flight when its worker died."""
STATE = "state"
"""Attribute of a trial that has ended; written after all others."""
OPTUNA_STATE = "ends as"
"""In the outcome of a trial: Optuna's name of its state."""
ASKS_PER_TRIAL = 4
"""Proposals per wanted trial, of which memory may reject all but one before the search gives up."""
OUTCOME_FILE = "outcome.json"
"""In a trial's folder: how the trial ended, before the study was told."""


class TrialQueue:
    """Trials of one study, claimed by one process."""

    def __init__(
        self, access: StudyAccess, trials_folder: Path, names: Collection[str] = ()
    ) -> None:
        """``trials_folder`` has one folder per trial; ``names``: the parameters of a trial."""
        self._names = tuple(names)
        self._access, self._folder = access, trials_folder
        self._study = access.study
        self._mine: set[int] = set()
        """Numbers of the trials that this process has in flight."""
        self.registry = WorkerRegistry(
            lambda: access.in_turn(lambda: dict(access.study.user_attrs)), access.set_attribute
        )
        self.on_lost: Callable[[str | None, int], None] = lambda worker, number: None
        """Called with a worker that is gone and the number of a trial that it had in flight."""
        # While the study is away no heartbeat can be read, and every living worker would look gone.
        access.on_outage = self.registry.forget_heartbeats

    def trials(self) -> list[Any]:
        """All trials that can be read, as Optuna has them."""
        return [trial for trial in self._stored() if self._is_sound(trial)]

    def damaged(self) -> list[int]:
        """Numbers of the trials that a crash or an editor damaged; they are left out."""
        return [trial.number for trial in self._stored() if not self._is_sound(trial)]

    def _stored(self) -> list[Any]:
        found: list[Any] = self._study.get_trials(deepcopy=False)
        return found

    def _is_sound(self, trial: Any) -> bool:
        finished = trial.state.is_finished()
        # A trial under way may have been killed between two of its parameters.
        try:
            parameters = trial.params if finished else parameters_of(trial)
            return is_sound(trial.user_attrs, parameters, self._names, finished=finished)
        except (AttributeError, TypeError):  # a number or a list where a mapping belongs
            return False

    def claim(self, distributions: dict[str, Any], wanted: int | None) -> Any:
        """Optuna's next trial: one that waits, or a new one of the search; None: none is left.

        All workers together start at most ``wanted`` trials of the search; None: no limit.
        """
        self.registry.enter()
        self.requeue_lost()
        self._end_damaged()
        trials = self.trials()
        waits = any(trial.state.name == "WAITING" for trial in trials)
        # A waiting trial was counted when it was queued, so the number limits new trials alone.
        if not waits and wanted is not None and _has_enough(trials, wanted):
            return None
        # Between these two lines a trial has no worker: the next process that holds the lock takes
        # such a trial for one whose worker died, as it did.
        trial = self._study.ask(fixed_distributions=distributions)
        trial.set_user_attr(WORKER, self.registry.me.name)
        self._mine.add(trial.number)
        return trial

    def _end_damaged(self) -> None:
        """End damaged trials that wait: Optuna would take one of them next, and fail."""
        for trial in self._stored():
            if trial.state.name == "WAITING" and not self._is_sound(trial):
                self._study._storage.set_trial_state_values(
                    trial._trial_id, state=_optuna_state("FAIL")
                )

    def enqueue(self, parameters: dict[str, Any], attributes: dict[str, Any]) -> None:
        """Let a trial with these parameters wait, unless one waits or runs already."""
        for trial in self.trials():
            # The call may come twice: `locked` repeats it after an outage, and a
            # resumed search asks again.
            is_open = trial.state.name in ("WAITING", "RUNNING")
            alike = all(trial.user_attrs.get(key) == value for key, value in attributes.items())
            if is_open and alike and parameters_of(trial) == parameters:
                return
        self._study.enqueue_trial(parameters, user_attrs=attributes)

    def requeue_lost(self) -> int:
        """Queue again what was in flight with workers that are gone; the number of such trials."""
        found = 0
        for trial in self.trials():
            if trial.state.name == "RUNNING" and self._is_lost(trial):
                self.on_lost(trial.user_attrs.get(WORKER), trial.number)
                found += self._requeue(trial)
        return found

    def _is_lost(self, trial: Any) -> bool:
        worker = trial.user_attrs.get(WORKER)
        if worker == self.registry.me.name:
            # An outage during `claim` leaves a trial under this worker's name that no slot runs.
            return trial.number not in self._mine
        return self.registry.is_gone(worker)

    def release(self, number: int, *, however_often: bool = False) -> bool:
        """Queue a trial of this process again; False if it was tried again already.

        ``however_often``: also one that was, for whoever goes on with the search later.
        """
        trial = self._trial(number)
        self._mine.discard(number)
        first = RETRY_OF not in trial.user_attrs
        return (first or however_often) and self._requeue(trial)

    def _trial(self, number: int) -> Any:
        return next(one for one in self._stored() if one.number == number)

    def _requeue(self, trial: Any) -> bool:
        """Whether a trial was queued again; the study is told of a trial that had ended instead."""
        outcome = self._outcome(trial)
        if outcome is not None:
            self.finish(trial, outcome)
            return False
        parameters = parameters_of(trial)
        again = any(one.user_attrs.get(RETRY_OF) == trial.number for one in self.trials())
        if parameters and not again:
            # The copy comes first: the next process sees a kill between the two steps.
            attributes = {RETRY_OF: trial.number}
            if SEED in trial.user_attrs:
                attributes[SEED] = trial.user_attrs[SEED]
            self._study.enqueue_trial(parameters, user_attrs=attributes)
        self._study.tell(trial.number, state=_optuna_state("FAIL"))
        return bool(parameters)

    def _outcome(self, trial: Any) -> dict[str, Any] | None:
        """How a trial ended whose worker died before the study knew all of it."""
        if STATE in trial.user_attrs:
            return dict(trial.user_attrs)
        lines = runs.read_json_lines(self._folder / str(trial.number) / OUTCOME_FILE)
        outcome = lines[-1] if lines else {}
        told = STATE in outcome and is_sound(
            outcome, parameters_of(trial), self._names, finished=False
        )
        return dict(outcome) if told else None

    def finish(self, trial: Any, outcome: dict[str, Any]) -> None:
        """Tell the study how a trial ended; a trial that has ended meanwhile stays as it is."""
        from optuna.exceptions import UpdateFinishedTrialError

        number = trial.number
        handle = self._trial(number)
        if handle.state.is_finished():
            return  # told before the storage went away, or taken from this process for dead
        # An outcome that was read back from the trial's attributes holds these keys as well,
        # and they must stay as they are.
        keys = [key for key in outcome if key not in (STATE, WORKER, RETRY_OF, SEED)]
        # Optuna's public methods set attributes only on a trial that this process asked for, and a
        # worker that is gone may have asked for this trial.
        storage, id_ = self._study._storage, handle._trial_id
        try:
            # The state is written last, because `_outcome` takes a trial that has one for complete.
            for key in (*keys, STATE):
                storage.set_trial_user_attr(id_, key, outcome[key])
            loss, ended = outcome.get("eval_loss"), _optuna_state(outcome[OPTUNA_STATE])
            if ended.name == "COMPLETE":
                self._study.tell(number, loss)
            else:
                self._study.tell(number, state=ended)
        except UpdateFinishedTrialError:
            pass
        self._mine.discard(number)

    def busy_elsewhere(self) -> bool:
        """Whether trials wait, or run with other workers that live."""
        self.requeue_lost()
        return any(
            trial.state.name == "WAITING"
            or (trial.state.name == "RUNNING" and trial.number not in self._mine)
            for trial in self.trials()
        )


def _optuna_state(name: str) -> Any:
    from optuna.trial import TrialState as OptunaState

    return OptunaState[name]


def _has_enough(trials: list[Any], wanted: int) -> bool:
    """Whether the search started all wanted trials, or memory rejected too many proposals."""
    search = [trial for trial in trials if SEED not in trial.user_attrs]
    rejected = [one for one in search if told_state(one) is TrialState.REJECTED]
    return len(started(trials)) >= wanted or len(rejected) >= (ASKS_PER_TRIAL - 1) * wanted


def started(trials: list[Any]) -> list[Any]:
    """Trials of the search that count: under way, waiting, or ended after a start."""
    return [
        trial
        for trial in trials
        if SEED not in trial.user_attrs
        and (
            # A finished trial without a state was queued again, and its copy counts instead.
            told_state(trial) not in (None, TrialState.REJECTED)
            or (not trial.state.is_finished() and told_state(trial) is None)
        )
    ]


def told_state(trial: Any) -> TrialState | None:
    """The state that the study was told of a trial; None if the trial has not ended."""
    word = trial.user_attrs.get(STATE)
    return None if word is None else state_of(word)


def parameters_of(trial: Any) -> dict[str, Any]:
    """Parameters of a trial, also of one that waits or was killed while it was given them."""
    fixed = trial.system_attrs.get("fixed_params")
    return dict(fixed if fixed else trial.params)
