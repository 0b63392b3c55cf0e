"""The Optuna study: a journal in the run folder, our strategy as sampler, memory as a bound.

Optuna is asked and told; it runs nothing. Its journal survives a kill at any point: what was in
flight is put back in the queue when the search goes on.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tsplanner.errors import TsplannerError
from tsplanner.planner.advice import with_rank
from tsplanner.planner.plan import LearningSettings, Plan
from tsplanner.training.job import DIVERGED
from tsplanner.tune.belief import Seen
from tsplanner.tune.places import Places
from tsplanner.tune.rows import paired_difference, read_rows
from tsplanner.tune.sampler import proposing_sampler
from tsplanner.tune.strategy import next_point
from tsplanner.tune.subject import subject_of

TRIALS_FOLDER = "trials"
JOURNAL_FILE = "study.journal"
STUDY_NAME = "tsplanner"
CONSTRAINT = "memory_bytes_over"
SEED = "seed"
"""Attribute of a trial of the last word: the fresh seed it runs on."""
UNKNOWN_SHARE = 0.5
"""Of what a stopped trial was behind may still have changed: one standard deviation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One trial that the sampler asks for."""

    number: int
    learning: LearningSettings
    seed: int | None = None
    """Of a trial of the last word; None: a trial of the search, on the plan's seed."""
    handle: Any
    """Optuna's trial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One trial that has ended."""

    number: int
    learning: LearningSettings
    state: str
    """``done``, ``stopped`` (pruned), ``not started`` (memory) or ``failed``."""
    eval_loss: float | None
    """The lowest held-out loss it reached."""
    message: str
    seed: int | None = None
    """Of a trial of the last word; None: a trial of the search."""
    behind: tuple[int, float, float] | None = None
    """Of a stopped trial: the rival, and how far behind it was, with the standard error."""


class Study:
    """Ask and tell, safe from several threads."""

    def __init__(self, folder: Path, plan: Plan, where: Places) -> None:
        """Open or make the journal in ``folder``.

        Raises TsplannerError if it cannot be read, or holds a search of another model, dataset or
        method.
        """
        import optuna
        from optuna.distributions import FloatDistribution, IntDistribution

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = optuna
        self._lock = threading.RLock()
        self.plan, self.where = plan, where
        self._trials = folder / TRIALS_FOLDER
        space = where.space
        low, high = space.learning_rate
        self._distributions: dict[str, Any] = {
            "learning_rate": FloatDistribution(low, high, log=True),
            "num_train_epochs": IntDistribution(1, max(space.epochs)),
        }
        if space.lora_ranks:
            self._distributions["lora_rank"] = IntDistribution(1, max(space.lora_ranks))
        self._study = self._opened(folder)
        self._check_subject(folder)

    def _opened(self, folder: Path) -> Any:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        path = folder / JOURNAL_FILE
        try:
            return self._optuna.create_study(
                study_name=STUDY_NAME,
                storage=JournalStorage(JournalFileBackend(str(path))),
                load_if_exists=True,
                direction="minimize",
                sampler=proposing_sampler(self._propose, lambda: self._distributions),
            )
        except Exception as error:  # json, key and lock errors of a damaged or foreign file
            words = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            raise TsplannerError(
                f"{path} cannot be opened as a search ({words}): it is left as it is; search in "
                "a new run folder."
            ) from error

    def _check_subject(self, folder: Path) -> None:
        subject, known = subject_of(self.plan), self._study.user_attrs.get("subject")
        if known is None:
            self._study.set_user_attr("subject", subject)
        elif known != subject:
            changed = next(key for key in subject if subject[key] != known.get(key))
            raise TsplannerError(
                f"{folder} holds a search with another {changed} ({known.get(changed)}, now "
                f"{subject[changed]}): resume it with its own plan, or search in a new run folder."
            )

    def recover(self) -> int:
        """Fail what was in flight when the last search ended; how many.

        Trials of the search are queued again; those of the last word are asked for anew.
        """
        states = self._optuna.trial.TrialState
        stale = self._study.get_trials(deepcopy=False, states=(states.RUNNING,))
        for trial in stale:
            self._study.tell(trial.number, state=states.FAIL)
            if trial.params and SEED not in trial.user_attrs:
                self._study.enqueue_trial(trial.params)
        return len(stale)

    def _parameters(self, learning: LearningSettings) -> dict[str, Any]:
        values = {
            "learning_rate": learning.learning_rate,
            "num_train_epochs": learning.num_train_epochs,
            "lora_rank": learning.lora_rank,
        }
        return {key: values[key] for key in self._distributions}

    def _propose(self, number: int) -> dict[str, Any]:
        """Parameters of the next trial of the search."""
        seen, known = self.seen(), self._searched()
        settled = {id_ for id_, _ in seen}
        pending = [
            self.where.point(self._learning(trial.params))
            for trial in known
            if trial.params and trial.number != number and trial.number not in settled
        ]
        point = next_point([one for _, one in seen], pending, self.where.grid)
        return self._parameters(self.where.settings(point))

    def _searched(self) -> list[Any]:
        trials = self._study.get_trials(deepcopy=False)
        return [trial for trial in trials if SEED not in trial.user_attrs]

    def ask(self) -> Proposal:
        """The next trial of the search."""
        with self._lock:
            trial = self._study.ask(fixed_distributions=self._distributions)
            return Proposal(
                number=trial.number, learning=self._learning(trial.params), handle=trial
            )

    def ask_again(self, learning: LearningSettings, seed: int) -> Proposal:
        """A trial of the last word: given settings on a fresh seed."""
        with self._lock:
            self._study.enqueue_trial(self._parameters(learning), user_attrs={SEED: seed})
            trial = self._study.ask(fixed_distributions=self._distributions)
            return Proposal(
                number=trial.number,
                learning=replace(self._learning(trial.params), seed=seed),
                seed=seed,
                handle=trial,
            )

    def set_memory(self, proposal: Proposal, bytes_over: int) -> None:
        """Tell the sampler how far over the free memory the estimate is (0 or less fits)."""
        with self._lock:
            proposal.handle.set_constraint(CONSTRAINT, float(bytes_over))

    def report(self, proposal: Proposal, eval_loss: float, step: int) -> None:
        """Note an evaluation, for the journal and the dashboard."""
        with self._lock:
            proposal.handle.report(eval_loss, step=step)

    def tell(self, proposal: Proposal, result: Result) -> None:
        """Record how a trial ended."""
        states = self._optuna.trial.TrialState
        with self._lock:
            for key in ("state", "message", "eval_loss", "behind"):
                proposal.handle.set_user_attr(key, getattr(result, key))
            if result.state == "done" and result.eval_loss is not None:
                self._study.tell(proposal.handle, result.eval_loss)
            else:
                failed = result.state == "failed" and DIVERGED not in result.message
                self._study.tell(proposal.handle, state=states.FAIL if failed else states.PRUNED)

    def results(self) -> list[Result]:
        """Every trial that was told, by number."""
        with self._lock:
            return [
                Result(
                    number=trial.number,
                    learning=self._learning(trial.params),
                    state=trial.user_attrs["state"],
                    eval_loss=trial.user_attrs.get("eval_loss"),
                    message=trial.user_attrs.get("message", ""),
                    seed=trial.user_attrs.get(SEED),
                    behind=_triple(trial.user_attrs.get("behind")),
                )
                for trial in self._study.get_trials(deepcopy=False)
                if "state" in trial.user_attrs
            ]

    def seen(self) -> list[tuple[int, Seen]]:
        """What the search's trials say, by number; of those cut short what they suggest."""
        results = [one for one in self.results() if one.seed is None]
        final = {one.number: one.eval_loss for one in results if one.state == "done"}
        default = next((one.number for one in results if self.is_default(one)), None)
        found = []
        for one in results:
            told = _told(one, final)
            if told is not None:
                loss, error = told
                error = math.hypot(error, self._rows_error(one.number, default))
                point = self.where.point(one.learning)
                found.append((one.number, Seen(point=point, loss=loss, error=error)))
        return found

    def is_default(self, result: Result) -> bool:
        """Whether this is the default's own trial, finished."""
        same = result.seed is None and result.learning == self.where.default
        return same and result.state == "done"

    def _rows_error(self, number: int, default: int | None) -> float:
        """Standard error of a trial against the default, of the held-out rows; 0 if unknown."""
        if default is None or number == default:
            return 0.0
        rows = (read_rows(self._trials / str(one)) for one in (number, default))
        compared = paired_difference(*rows)
        return 0.0 if compared is None else compared[1]

    def _learning(self, parameters: dict[str, Any]) -> LearningSettings:
        learning = replace(
            self.plan.learning,
            learning_rate=parameters["learning_rate"],
            num_train_epochs=parameters["num_train_epochs"],
        )
        rank = parameters.get("lora_rank")
        return learning if rank is None else with_rank(learning, int(rank))


def _triple(value: Any) -> tuple[int, float, float] | None:
    return None if value is None else (int(value[0]), float(value[1]), float(value[2]))


def _told(one: Result, final: dict[int, float | None]) -> tuple[float, float] | None:
    """Loss that a trial of the search reached, or would have, and the error of that."""
    if one.state == "done" and one.eval_loss is not None:
        return one.eval_loss, 0.0
    if one.behind is not None:
        rival, difference, error = one.behind
        reached = final.get(rival)
        if reached is None:
            return None
        return reached + difference, math.hypot(error, UNKNOWN_SHARE * difference)
    losses = [loss for loss in final.values() if loss is not None]
    if one.state == "failed" and DIVERGED in one.message and losses:
        # No loss at all, so worse than all others by more than they differ.
        spread = max(0.1 * abs(max(losses)), max(losses) - min(losses))
        return max(losses) + spread, spread
    return None
