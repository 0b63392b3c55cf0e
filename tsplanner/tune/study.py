"""The Optuna study: a journal in the run folder, a prior that is tried first, memory as a bound.

Optuna is asked and told; it runs nothing. Its journal survives a kill at any point: what was in
flight is put back in the queue when the search goes on.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tsplanner.errors import TsplannerError
from tsplanner.planner.advice import with_rank
from tsplanner.planner.plan import LearningSettings, Plan
from tsplanner.tune.space import Space

JOURNAL_FILE = "study.journal"
STUDY_NAME = "tsplanner"
CONSTRAINT = "memory_bytes_over"
STARTUP_TRIALS = 3
"""Trials before TPE models the results; its default of 10 would make eight trials random."""
PRUNER_STARTUP_TRIALS = 2
"""Finished trials before any other may be stopped."""
PROGRESS_STEPS = 6
"""Evaluations of a whole trial: trials of 1, 2 and 3 epochs share these marks of progress."""
PRUNER_WARMUP = PROGRESS_STEPS // 3
"""Marks a trial is left alone for: the first third tells little, warm-up is part of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One trial that the sampler asks for."""

    number: int
    learning: LearningSettings
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
    message: str


class Study:
    """Ask and tell, safe from several threads."""

    def __init__(self, folder: Path, plan: Plan, space: Space, *, seed: int) -> None:
        """Open or make the journal in ``folder``.

        Raises TsplannerError if it holds a search of another model, dataset or method.
        """
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = optuna
        self._lock = threading.RLock()
        self._reported: set[tuple[int, int]] = set()
        self.plan, self.space = plan, space
        self._study = optuna.create_study(
            study_name=STUDY_NAME,
            storage=JournalStorage(JournalFileBackend(str(folder / JOURNAL_FILE))),
            load_if_exists=True,
            direction="minimize",
            sampler=optuna.samplers.TPESampler(n_startup_trials=STARTUP_TRIALS, seed=seed),
            pruner=optuna.pruners.MedianPruner(
                n_startup_trials=PRUNER_STARTUP_TRIALS, n_warmup_steps=PRUNER_WARMUP
            ),
        )
        self._check_subject(folder)

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
        """Fail what was in flight when the last search ended and queue it again; how many."""
        states = self._optuna.trial.TrialState
        stale = self._study.get_trials(deepcopy=False, states=(states.RUNNING,))
        for trial in stale:
            self._study.tell(trial.number, state=states.FAIL)
            if trial.params:
                self._study.enqueue_trial(trial.params)
        return len(stale)

    def start_with(self, points: list[LearningSettings]) -> None:
        """Queue the starting points of a study that is new."""
        if not self._study.get_trials(deepcopy=False):
            for point in points:
                self._study.enqueue_trial(self._parameters(point))

    def _parameters(self, learning: LearningSettings) -> dict[str, Any]:
        values: dict[str, Any] = {
            "learning_rate": learning.learning_rate,
            "num_train_epochs": learning.num_train_epochs,
        }
        if self.space.lora_ranks:
            values["lora_rank"] = learning.lora_rank
        return values

    def ask(self) -> Proposal:
        """The next trial's settings."""
        with self._lock:
            trial = self._study.ask()
            low, high = self.space.learning_rate
            rate = trial.suggest_float("learning_rate", low, high, log=True)
            epochs = trial.suggest_categorical("num_train_epochs", self.space.epochs)
            learning = replace(self.plan.learning, learning_rate=rate, num_train_epochs=epochs)
            if self.space.lora_ranks:
                rank = trial.suggest_categorical("lora_rank", self.space.lora_ranks)
                learning = with_rank(learning, int(rank))
            return Proposal(number=trial.number, learning=learning, handle=trial)

    def set_memory(self, proposal: Proposal, bytes_over: int) -> None:
        """Tell the sampler how far over the free memory the estimate is (0 or less fits)."""
        with self._lock:
            proposal.handle.set_constraint(CONSTRAINT, float(bytes_over))

    def report(self, proposal: Proposal, eval_loss: float, progress: float) -> bool:
        """Note an evaluation at ``progress`` (0..1) of its trial; True if it should stop."""
        step = round(progress * PROGRESS_STEPS)
        with self._lock:
            if (proposal.number, step) in self._reported:
                return False  # more evaluations than steps of progress: the first one counts
            self._reported.add((proposal.number, step))
            proposal.handle.report(eval_loss, step=step)
            return progress < 1 and bool(proposal.handle.should_prune())

    def tell(self, proposal: Proposal, result: Result) -> None:
        """Record how a trial ended."""
        states = self._optuna.trial.TrialState
        with self._lock:
            proposal.handle.set_user_attr("state", result.state)
            proposal.handle.set_user_attr("message", result.message)
            proposal.handle.set_user_attr("eval_loss", result.eval_loss)
            if result.state == "done" and result.eval_loss is not None:
                self._study.tell(proposal.handle, result.eval_loss)
            else:
                # A pruned trial still teaches the sampler; a failed one is ignored by it.
                failed = result.state == "failed" and not result.message.startswith("diverged")
                state = states.FAIL if failed else states.PRUNED
                self._study.tell(proposal.handle, state=state)

    def results(self) -> list[Result]:
        """Every trial that was told, by number."""
        return [
            Result(
                number=trial.number,
                learning=self._learning(trial.params),
                state=trial.user_attrs["state"],
                eval_loss=trial.user_attrs.get("eval_loss"),
                message=trial.user_attrs.get("message", ""),
            )
            for trial in self._study.get_trials(deepcopy=False)
            if "state" in trial.user_attrs
        ]

    def _learning(self, parameters: dict[str, Any]) -> LearningSettings:
        learning = replace(
            self.plan.learning,
            learning_rate=parameters["learning_rate"],
            num_train_epochs=parameters["num_train_epochs"],
        )
        rank = parameters.get("lora_rank")
        return learning if rank is None else with_rank(learning, int(rank))


def subject_of(plan: Plan) -> dict[str, str]:
    """What a search is about; results of different subjects cannot be compared."""
    learning = plan.learning
    fixed = (learning.effective_batch_size, learning.cutoff_len, learning.validation_fraction)
    return {
        "model": f"{plan.model.name} {digest(json.dumps(plan.model.config, sort_keys=True))}",
        "dataset": f"{plan.dataset.name} {dataset_digest(plan)}",
        "method": str(learning.finetuning_type),
        "seed": str(learning.seed),
        "batch, cutoff and held-out share": " ".join(str(value) for value in fixed),
    }


def dataset_digest(plan: Plan) -> str:
    """Digest of the dataset's content; a file that was edited is another dataset."""
    if plan.dataset.path is None or not Path(plan.dataset.path).is_file():
        return "no file"
    with Path(plan.dataset.path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def digest(text: str) -> str:
    """Twelve hexadecimal digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
