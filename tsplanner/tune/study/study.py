"""The Optuna study: a journal or a database, our strategy as sampler, memory as a bound.

Optuna is asked and told; it runs nothing. What it keeps survives a kill at any point, and several
processes may work on it: takes.py has how trials are taken and given back.
"""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tsplanner import runs
from tsplanner.errors import TsplannerError
from tsplanner.planner.plan import LearningSettings, Plan
from tsplanner.tune.search.acquisition import next_point
from tsplanner.tune.search.encoding import Places
from tsplanner.tune.search.paired_eval import paired_difference, read_rows
from tsplanner.tune.search.surrogate import Seen
from tsplanner.tune.study.leader import Leading
from tsplanner.tune.study.open import open_study
from tsplanner.tune.study.queue import (
    OUTCOME_FILE,
    SEED,
    STATE,
    WANTED,
    Takes,
    is_transient,
)
from tsplanner.tune.study.remote import packed_rows, unpack_rows
from tsplanner.tune.study.sampler import axes, learning_of, parameters_for, proposing_sampler
from tsplanner.tune.study.storage import open_place
from tsplanner.tune.study.trial_result import (
    Result,
    TrialState,
    is_diverged,
    state_of,
    stored_deficit,
    told_loss,
)

__all__ = ["Proposal", "Result", "Study"]

TRIALS_FOLDER = "trials"
CONSTRAINT = "memory_bytes_over"
RAN_OUT = "memory_bytes_over_in_fact"
"""Constraint of a trial that ran out of memory in spite of the estimate; Optuna keeps the first
value of a name, and that is the estimate's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One trial that the sampler asks for."""

    number: int
    learning: LearningSettings
    seed: int | None = None
    """Of a trial of the last word; None: a trial of the search, on the plan's seed."""
    handle: Any
    """Optuna's trial."""


class Study(Leading):
    """Ask and tell, safe from several threads and processes."""

    def __init__(
        self, folder: Path, plan: Plan, where: Places | None, storage: str | None = None
    ) -> None:
        """Open or make the study of ``folder``, in a journal there or at the URL ``storage``.

        ``where`` is what a new study searches; one that exists keeps its own (None: it must
        exist). Raises TsplannerError, with nothing changed, if the place cannot be used or holds
        a search of another model, dataset or method.
        """
        self.plan, self.folder = plan, folder
        self._trials = folder / TRIALS_FOLDER
        self.place = open_place(folder, storage)
        sampler = proposing_sampler(self._propose, lambda: self._distributions)
        self._study, self.where = open_study(folder, plan, where, self.place, sampler)
        self._distributions = axes(self.where.space)
        self._takes = Takes(self._study, self.place, folder)
        self.stop = self._takes.stop
        """Set to end any waiting for a storage that is away."""
        self._unsent: list[tuple[Any, float, int]] = []

    def _parameters(self, learning: LearningSettings) -> dict[str, Any]:
        return parameters_for(learning, self._distributions)

    def _propose(self, number: int) -> dict[str, Any]:
        """Parameters of the next trial of the search."""
        seen, trials = self.seen(), self._takes.trials()
        settled = {id_ for id_, _ in seen}
        pending = [
            self.where.point(self._learning(trial.params))
            for trial in trials
            if trial.params
            and SEED not in trial.user_attrs
            and trial.number != number
            and trial.number not in settled
            and (STATE in trial.user_attrs or not trial.state.is_finished())
        ]
        point = next_point([one for _, one in seen], pending, self.where.grid)
        return self._parameters(self.where.settings(point))

    def ask(self) -> Proposal:
        """The next trial that waits, or a new one of the search, however many are wanted."""
        return self._proposal(
            self._takes.steadily(lambda: self._takes.next(self._distributions, None))
        )

    def take(self) -> Proposal | None:
        """The next trial for this process: one that waits, or one of the search while such are
        wanted; None: there is none now.
        """

        def next_trial() -> Any:
            wanted = self._study.user_attrs.get(WANTED, 0)
            return self._takes.next(self._distributions, wanted)

        trial = self._takes.steadily(next_trial)
        return None if trial is None else self._proposal(trial)

    def _proposal(self, trial: Any) -> Proposal:
        learning, seed = self._learning(trial.params), trial.user_attrs.get(SEED)
        return Proposal(
            number=trial.number,
            learning=learning if seed is None else replace(learning, seed=seed),
            seed=seed,
            handle=trial,
        )

    def queue(self, wanted: list[tuple[LearningSettings, int]]) -> None:
        """Let trials of the last word wait for whoever takes them: settings and fresh seeds."""

        def note() -> None:
            for learning, seed in wanted:
                self._takes.queue(self._parameters(learning), {SEED: seed})

        self._takes.steadily(note)

    def busy_elsewhere(self) -> bool:
        """Whether trials wait, or run in other processes that live."""
        return self._takes.steadily(self._takes.busy_elsewhere)

    def give_back(self, proposal: Proposal) -> bool:
        """Queue a trial again that ended by an accident; False if that was done once before."""
        return self._takes.steadily(lambda: self._takes.give_back(proposal.number))

    def set_memory(self, proposal: Proposal, bytes_over: int) -> None:
        """Tell the sampler how far over the free memory the estimate is (0 or less fits)."""
        self._takes.steadily(lambda: proposal.handle.set_constraint(CONSTRAINT, float(bytes_over)))

    def ran_out(self, proposal: Proposal, bytes_over: int) -> None:
        """Note that a trial ran out of memory, and how far over the estimate's upper bound."""
        over = float(max(1, bytes_over))
        self._takes.steadily(lambda: proposal.handle.set_constraint(RAN_OUT, over))

    def report(self, proposal: Proposal, eval_loss: float, step: int) -> None:
        """Note an evaluation, for the dashboard; one that cannot be noted now is kept for later."""
        self._unsent.append((proposal.handle, eval_loss, step))
        with contextlib.suppress(Exception):
            self._takes.quietly(self._send)

    def _send(self) -> None:
        from optuna.exceptions import UpdateFinishedTrialError

        while self._unsent:
            handle, eval_loss, step = self._unsent[0]
            try:
                handle.report(eval_loss, step=step)
            except UpdateFinishedTrialError:
                pass
            except Exception as error:
                if is_transient(error):
                    raise
            self._unsent.pop(0)

    def tell(self, proposal: Proposal, result: Result) -> None:
        """Record how a trial ended: in its folder first, then in the study."""
        outcome = {
            "message": result.message,
            "eval_loss": result.eval_loss,
            "behind": None if result.behind is None else asdict(result.behind),
            "ends as": result.optuna_state,
            STATE: str(result.state),
        }
        folder = self._trials / str(result.number)
        if self.place.apart:
            outcome = packed_rows(folder) | outcome
        with contextlib.suppress(OSError, TsplannerError):  # the study is told all the same
            folder.mkdir(parents=True, exist_ok=True)
            runs.write_text(folder / OUTCOME_FILE, json.dumps(outcome) + "\n")

        def note() -> None:
            self._send()
            self._takes.finish(proposal.handle, outcome)

        self._takes.steadily(note)

    def results(self) -> list[Result]:
        """Every trial that was told, by number."""
        trials = [
            trial
            for trial in self._takes.steadily(self._takes.trials)
            if STATE in trial.user_attrs and trial.state.is_finished()
        ]
        if self.place.apart:
            unpack_rows(trials, self._trials)
        return [
            Result(
                number=trial.number,
                learning=self._learning(trial.params),
                state=state_of(trial.user_attrs[STATE]),
                eval_loss=trial.user_attrs.get("eval_loss"),
                message=trial.user_attrs.get("message", ""),
                seed=trial.user_attrs.get(SEED),
                behind=stored_deficit(trial.user_attrs.get("behind")),
                diverged=is_diverged(trial.user_attrs[STATE], trial.state.name),
            )
            for trial in trials
        ]

    def seen(self) -> list[tuple[int, Seen]]:
        """What the search's trials say, by number; of those cut short what they suggest."""
        results = [one for one in self.results() if one.seed is None]
        final = {one.number: one.eval_loss for one in results if one.state is TrialState.COMPLETED}
        default = next((one.number for one in results if self.is_default(one)), None)
        found = []
        for one in results:
            told = told_loss(one, final)
            if told is not None:
                loss, error = told
                error = math.hypot(error, self._rows_error(one.number, default))
                point = self.where.point(one.learning)
                found.append((one.number, Seen(point=point, loss=loss, error=error)))
        return found

    def is_default(self, result: Result) -> bool:
        """Whether this is the default's own trial, finished."""
        same = result.seed is None and result.learning == self.where.default
        return same and result.state is TrialState.COMPLETED

    def _rows_error(self, number: int, default: int | None) -> float:
        """Standard error of a trial against the default, of the held-out rows; 0 if unknown."""
        if default is None or number == default:
            return 0.0
        rows = (read_rows(self._trials / str(one)) for one in (number, default))
        compared = paired_difference(*rows)
        return 0.0 if compared is None else compared[1]

    def _learning(self, parameters: dict[str, Any]) -> LearningSettings:
        return learning_of(parameters, self.plan.learning)
