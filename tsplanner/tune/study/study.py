"""The Optuna study of a search: a journal or a database, with the surrogate as its sampler.

Optuna is asked and told; it runs nothing. What it keeps survives a kill at any point, and several
processes may work on it: queue.py has how trials are claimed and released, leader.py how the
workers agree.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

from memory_models.frozen import frozen
from tsplanner import runs
from tsplanner.errors import TsplannerError
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import LearningSettings
from tsplanner.tune.search.acquisition import suggest
from tsplanner.tune.search.encoding import SearchSpaceEncoding
from tsplanner.tune.search.paired_eval import paired_difference, read_example_losses
from tsplanner.tune.search.points import Observation
from tsplanner.tune.study.access import StudyAccess, is_transient
from tsplanner.tune.study.leader import WANTED, WorkerPool
from tsplanner.tune.study.open import open_study
from tsplanner.tune.study.queue import OPTUNA_STATE, OUTCOME_FILE, SEED, STATE, TrialQueue
from tsplanner.tune.study.remote import carried_losses, write_carried_losses
from tsplanner.tune.study.sampler import axes, learning_of, parameters_for, suggesting_sampler
from tsplanner.tune.study.storage import open_storage
from tsplanner.tune.study.trial_result import (
    Result,
    TrialState,
    is_diverged,
    observed_loss,
    state_of,
    stored_deficit,
)

__all__ = ["Proposal", "Result", "Study"]

TRIALS_FOLDER = "trials"
"""In a run's folder: one folder per trial."""
CONSTRAINT = "memory_bytes_over"
RAN_OUT = "memory_bytes_over_in_fact"
"""Constraint of a trial that ran out of memory in spite of the estimate; Optuna keeps the first
value of a name, and that is the estimate's."""


@frozen
class Proposal:
    """One trial that is to be run."""

    number: int
    learning: LearningSettings
    seed: int | None = None
    """Fresh seed of a trial of the confirmation; None: a trial of the search, on the plan's."""
    handle: Any
    """Optuna's trial."""


class Study:
    """Ask and tell, safe from several threads and processes."""

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        encoding: SearchSpaceEncoding | None,
        storage: str | None = None,
    ) -> None:
        """Open or make the study of ``folder``, in a journal there or at the URL ``storage``.

        ``encoding`` is of a new study; an existing one keeps its own (None: the study must
        exist). Raises TsplannerError, with nothing changed, if the storage cannot be used or holds
        a search of another model, dataset or method.
        """
        self.plan, self.folder = plan, folder
        self._trials = folder / TRIALS_FOLDER
        self.storage = open_storage(folder, storage)
        opened, self.encoding = open_study(folder, plan, encoding, self.storage)
        self._distributions = axes(self.encoding.space)
        self.access = StudyAccess(opened, self.storage, folder)
        self.queue = TrialQueue(self.access, self._trials, self._distributions)
        self.workers = WorkerPool(self.access, self.queue, folder)
        self._unsent: list[tuple[Any, float, int]] = []
        self._say_what_is_damaged()
        # Last of all, for the sampler reads everything above.
        opened.sampler = suggesting_sampler(self._suggest, self._distributions)

    def _say_what_is_damaged(self) -> None:
        damaged = ", ".join(map(str, self.access.locked(self.queue.damaged)))
        if damaged:
            words = f"trial {damaged} cannot be read and is left out"
            sys.stderr.write(f"{self.storage.display_name}: {words}.\n")

    def __enter__(self) -> Self:
        """Work on the study."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the study to its other workers; never raises."""
        self.workers.leave()

    def parameters(self, learning: LearningSettings) -> dict[str, Any]:
        """Learning settings as this study's parameters."""
        return parameters_for(learning, self._distributions)

    def _suggest(self, number: int) -> dict[str, Any]:
        """Parameters of the next trial of the search."""
        seen, trials = self.observations(), self.queue.trials()
        settled = {id_ for id_, _ in seen}
        pending = [
            self.encoding.point(self._learning(trial.params))
            for trial in trials
            if trial.params
            and SEED not in trial.user_attrs
            and trial.number != number
            and trial.number not in settled
            # A finished trial without a state was queued again, and its copy stands for it.
            and (STATE in trial.user_attrs or not trial.state.is_finished())
        ]
        point = suggest([one for _, one in seen], pending, self.encoding.grid)
        return self.parameters(self.encoding.settings(point))

    def ask(self) -> Proposal:
        """The next trial that waits, or a new one of the search, whatever number is wanted."""
        return self._proposal(
            self.access.locked(lambda: self.queue.claim(self._distributions, None))
        )

    def claim(self) -> Proposal | None:
        """The next trial for this process; None: there is none now.

        That is a trial that waits, or a new one of the search while such trials are wanted.
        """

        def next_trial() -> Any:
            # The number is read under the lock, or two workers could both
            # claim the last wanted trial.
            wanted = self.access.study.user_attrs.get(WANTED, 0)
            return self.queue.claim(self._distributions, wanted)

        trial = self.access.locked(next_trial)
        return None if trial is None else self._proposal(trial)

    def _proposal(self, trial: Any) -> Proposal:
        learning, seed = self._learning(trial.params), trial.user_attrs.get(SEED)
        return Proposal(
            number=trial.number,
            learning=learning if seed is None else replace(learning, seed=seed),
            seed=seed,
            handle=trial,
        )

    def enqueue(self, wanted: list[tuple[LearningSettings, int]]) -> None:
        """Let trials of the confirmation wait for any worker: settings and fresh seeds."""

        def note() -> None:
            for learning, seed in wanted:
                self.queue.enqueue(self.parameters(learning), {SEED: seed})

        self.access.locked(note)

    def busy_elsewhere(self) -> bool:
        """Whether trials wait, or run in other processes that live."""
        return self.access.locked(self.queue.busy_elsewhere)

    def release(self, proposal: Proposal, *, however_often: bool = False) -> bool:
        """Queue a trial again that ended by an accident; False if that was done once before.

        ``however_often``: also where it was, for whoever goes on with the search later.
        """
        number = proposal.number
        return self.access.locked(lambda: self.queue.release(number, however_often=however_often))

    def set_memory(self, proposal: Proposal, bytes_over: int) -> None:
        """Tell Optuna how far over the free memory the estimate is; 0 or less fits."""
        self.access.locked(lambda: proposal.handle.set_constraint(CONSTRAINT, float(bytes_over)))

    def ran_out(self, proposal: Proposal, bytes_over: int) -> None:
        """Note that a trial ran out of memory, and how far over the estimate's upper bound."""
        over = float(max(1, bytes_over))
        self.access.locked(lambda: proposal.handle.set_constraint(RAN_OUT, over))

    def report(self, proposal: Proposal, eval_loss: float, step: int) -> None:
        """Note an evaluation for the dashboard; one that cannot be noted now is kept for later."""
        # Only the dashboard reads these evaluations, so no trial ends because one cannot be noted.
        self._unsent.append((proposal.handle, eval_loss, step))
        with contextlib.suppress(Exception):
            self.access.in_turn(self._send)

    def _send(self) -> None:
        from optuna.exceptions import UpdateFinishedTrialError

        while self._unsent:
            handle, eval_loss, step = self._unsent[0]
            try:
                handle.report(eval_loss, step=step)
            except UpdateFinishedTrialError:
                pass
            except Exception as error:
                # A report that can never be noted is dropped, for it would hold up all later ones.
                if is_transient(error):
                    raise
            self._unsent.pop(0)

    def tell(self, proposal: Proposal, result: Result) -> None:
        """Record how a trial ended: in its folder first, then in the study."""
        outcome = {
            "message": result.message,
            "eval_loss": result.eval_loss,
            "behind": None if result.deficit is None else asdict(result.deficit),
            OPTUNA_STATE: result.optuna_state,
            STATE: str(result.state),
        }
        folder = self._trials / str(result.number)
        if self.storage.is_remote:
            outcome = carried_losses(folder) | outcome
        with contextlib.suppress(OSError, TsplannerError):  # the study is told all the same
            folder.mkdir(parents=True, exist_ok=True)
            runs.write_text(folder / OUTCOME_FILE, json.dumps(outcome) + "\n")

        def note() -> None:
            self._send()
            self.queue.finish(proposal.handle, outcome)

        self.access.locked(note)

    def results(self) -> list[Result]:
        """Every trial that has ended, by number."""
        trials = [
            trial
            for trial in self.access.locked(self.queue.trials)
            if STATE in trial.user_attrs and trial.state.is_finished()
        ]
        if self.storage.is_remote:
            write_carried_losses(trials, self._trials)
        return [self._result(trial) for trial in trials]

    def _result(self, trial: Any) -> Result:
        attributes = trial.user_attrs
        return Result(
            number=trial.number,
            learning=self._learning(trial.params),
            state=state_of(attributes[STATE]),
            eval_loss=attributes.get("eval_loss"),
            message=attributes.get("message", ""),
            seed=attributes.get(SEED),
            deficit=stored_deficit(attributes.get("behind")),
            diverged=is_diverged(attributes[STATE], trial.state.name),
        )

    def observations(self) -> list[tuple[int, Observation]]:
        """What the trials of the search say, by number; pruned trials say what they suggest."""
        results = [one for one in self.results() if one.seed is None]
        final = {one.number: one.eval_loss for one in results if one.state is TrialState.COMPLETED}
        baseline = next((one.number for one in results if self.is_baseline(one)), None)
        found = []
        for one in results:
            told = observed_loss(one, final)
            if told is not None:
                loss, error = told
                # Trials are compared on the same examples, so what counts is the scatter of the
                # difference, not that of a loss.
                error = math.hypot(error, self._paired_error(one.number, baseline))
                point = self.encoding.point(one.learning)
                found.append((one.number, Observation(point=point, loss=loss, error=error)))
        return found

    def is_baseline(self, result: Result) -> bool:
        """Whether a result is of the baseline's own trial, completed."""
        # The number 0 would not do: a baseline whose worker died runs again under another number.
        same = result.seed is None and result.learning == self.encoding.baseline
        return same and result.state is TrialState.COMPLETED

    def _paired_error(self, number: int, baseline: int | None) -> float:
        """Standard error of a trial against the baseline over the examples; 0 if unknown."""
        if baseline is None or number == baseline:
            return 0.0
        losses = (read_example_losses(self._trials / str(one)) for one in (number, baseline))
        compared = paired_difference(*losses)
        return 0.0 if compared is None else compared[1]

    def _learning(self, parameters: dict[str, Any]) -> LearningSettings:
        return learning_of(parameters, self.plan.learning)
