"""What a trial's lines and its record mean for the study; the same for a trial alone or packed."""

from __future__ import annotations

import math
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tsplanner.errors import TsplannerError
from tsplanner.planner.plan import LearningSettings, Plan
from tsplanner.probe.calibration import note_shortage
from tsplanner.probe.runner import request_stop
from tsplanner.training.job import Record, Status
from tsplanner.tune.search.early_stopping import Behind, Course, hopeless
from tsplanner.tune.search.paired_eval import Rows, read_marks
from tsplanner.tune.study.queue import StorageGone
from tsplanner.tune.study.study import Proposal, Result, Study
from tsplanner.tune.study.trial_result import TrialState

EVALUATIONS = 3
"""Of a whole trial, about: ends of epochs, and thirds of a run of one."""
OUT_OF_MEMORY = (Status.DEVICE_OOM, Status.HOST_OOM)


class View(Protocol):
    """Where the search tells what happens. Called from several threads, one at a time."""

    def started(self, number: int, learning: LearningSettings) -> None:
        """A trial has begun."""

    def progressed(self, number: int, progress: float, eval_loss: float | None) -> None:
        """A trial is ``progress`` (0..1) through; its newest evaluation, if there was one."""

    def ended(self, result: Result) -> None:
        """A trial is over, here or in another process."""

    def given_back(self, number: int, message: str) -> None:
        """A trial ended by an accident and waits to be run again under another number."""


@dataclass(slots=True, kw_only=True)
class Running:
    """A trial under way."""

    proposal: Proposal
    plan: Plan
    """Of the trial alone."""
    folder: Path
    progress: float = 0.0
    stopped: tuple[float, Behind] | None = None
    """The epoch at which it was asked to stop, and why."""
    ran_out: bool = False
    """It ran out of memory, and the study knows."""

    @property
    def epochs(self) -> int:
        """Of the whole trial."""
        return self.proposal.learning.num_train_epochs

    @property
    def evals_per_epoch(self) -> int:
        """Evaluations of each of its epochs."""
        return max(1, round(EVALUATIONS / self.epochs))


class Referee:
    """Watches trials, stops hopeless ones, and tells the study how they ended."""

    def __init__(self, study: Study, folder: Path, view: View) -> None:
        """``folder`` has one folder a trial."""
        self.study, self.folder, self.view = study, folder, view
        self.lock = threading.Lock()
        self._marks: dict[int, dict[int, Rows]] = {}
        """Held-out rows of the search's trials, by trial and optimizer step."""
        self._at_work: dict[int, Running] = {}
        """Trials of the search under way in this process, from their first mark on."""
        self._known: set[int] = set()
        """Trials that ended and that the view has been told of."""
        self.doubtful = False
        """This process helps, and no trial has ended well in it: it may be its own fault."""
        for result in study.results():
            self._recall(result)

    def _recall(self, result: Result) -> None:
        """Take a trial that ended in another process, or before, into account."""
        self._known.add(result.number)
        if result.seed is None and result.number not in self._marks:
            found = read_marks(self.folder / str(result.number))
            self._marks[result.number] = {step: rows for step, (_, rows) in found.items()}

    def see_others(self) -> None:
        """Show and remember what ended in other processes; called under the lock."""
        for result in self.study.results():
            if result.number not in self._known:
                self._recall(result)
                self.view.ended(result)

    def running(self, proposal: Proposal, plan: Plan) -> Running:
        """A trial that is about to start."""
        return Running(proposal=proposal, plan=plan, folder=self.folder / str(proposal.number))

    def row(self, trial: Running, row: dict[str, Any]) -> None:
        """A line of its metrics.jsonl; asks a hopeless trial to stop."""
        trial.progress = min(1.0, float(row.get("epoch") or 0.0) / trial.epochs)
        eval_loss, step = row.get("eval_loss"), int(row.get("step") or 0)
        with self.lock:
            self.view.progressed(trial.proposal.number, trial.progress, eval_loss)
        if eval_loss is None or not step:
            return
        self.study.report(trial.proposal, float(eval_loss), step)
        if trial.proposal.seed is None:
            with suppress(StorageGone):  # a trial is not judged, and goes on, while that is away
                self._stop_hopeless(trial, step)

    def _stop_hopeless(self, trial: Running, step: int) -> None:
        """Judge all trials at work by a new mark of one; the default never stops early."""
        rows = read_marks(trial.folder).get(step, (0.0, []))[1]
        last = round(step / trial.progress)
        results = self.study.results()
        final = {one.number: one.eval_loss for one in results if one.state is TrialState.COMPLETED}
        with self.lock:
            self._marks.setdefault(trial.proposal.number, {})[step] = rows
            self._at_work[trial.proposal.number] = trial
            courses = {
                number: Course(marks=dict(marks), final=final.get(number))
                for number, marks in self._marks.items()
            }
            may_stop = {
                number: one
                for number, one in self._at_work.items()
                if one.stopped is None and one.proposal.learning != self.study.where.default
            }
            for number, behind in hopeless(courses, may_stop, self._trials(), last).items():
                stopping = may_stop[number]
                stopping.stopped = behind.step / last * stopping.epochs, behind
                request_stop(stopping.folder)

    def _trials(self) -> int:
        """Trials of the search that there are, or will be."""
        return max(self.study.wanted, len(self._marks))

    def judge(self, trial: Running, record: Record) -> None:
        """Tell the study how a trial ended.

        Raises TsplannerError if the default settings themselves cannot be trained, or if there is
        nothing to compare by.
        """
        losses = [evaluation.loss for evaluation in record.evaluations]
        best = min(losses, default=None)
        if record.status is Status.OK and best is not None and math.isfinite(best):
            self.end(trial.proposal, TrialState.COMPLETED, best, "")
        elif trial.stopped and record.status is Status.STOPPED:
            epoch, behind = trial.stopped
            message = (
                f"stopped at epoch {epoch:.2g}: {behind.difference:+.4f} ± {behind.error:.4f} "
                f"against trial {behind.rival} there"
            )
            self.end(trial.proposal, TrialState.PRUNED, best, message, behind)
        elif record.status is Status.DIVERGED:
            self.end(trial.proposal, TrialState.FAILED, None, record.message, diverged=True)
        elif record.status is Status.OK:
            raise TsplannerError(
                "The trials need held-out rows to be compared by: plan with --validation-fraction "
                "above 0 and at least two rows."
            )
        else:
            self._failed(trial, record)

    def _failed(self, trial: Running, record: Record) -> None:
        if record.status is Status.KILLED and self.give_back(trial.proposal, record.message):
            return
        if self.doubtful and self.give_back(trial.proposal, record.message):
            raise TsplannerError(
                f"The first trial that ended here failed, and is left to others: {record.message}"
            )
        if record.status in OUT_OF_MEMORY:
            note_shortage(trial.plan, record)
            self.ran_out(trial, record, trial.plan)
        self.end(trial.proposal, TrialState.FAILED, None, f"{record.status}: {record.message}")
        where = self.study.where
        if trial.proposal.seed is None and trial.proposal.learning == where.default:
            raise TsplannerError(f"The plan's own settings failed: {record.message}")

    def ran_out(self, trial: Running, record: Record, plan: Plan) -> None:
        """Let the study know of a real out-of-memory; ``plan``: of the trial, or of its pack."""
        if trial.ran_out:
            return
        trial.ran_out = True
        over = (record.process_bytes or 0) - plan.memory.process_bytes.upper
        self.study.ran_out(trial.proposal, over)

    def end(
        self,
        proposal: Proposal,
        state: TrialState,
        eval_loss: float | None,
        message: str,
        behind: Behind | None = None,
        *,
        diverged: bool = False,
    ) -> None:
        """Record a trial's end in the study, and show it."""
        result = Result(
            number=proposal.number,
            learning=proposal.learning,
            state=state,
            eval_loss=eval_loss,
            message=message,
            seed=proposal.seed,
            behind=behind,
            diverged=diverged,
        )
        self.doubtful = self.doubtful and state not in (TrialState.COMPLETED, TrialState.PRUNED)
        with self.lock:
            self._known.add(proposal.number)
            self._at_work.pop(proposal.number, None)
        self.study.tell(proposal, result)
        with self.lock:
            self.view.ended(result)

    def give_back(self, proposal: Proposal, message: str) -> bool:
        """Queue a trial again that an accident ended; False if it has had its second chance."""
        if not self.study.give_back(proposal):
            return False
        with self.lock:
            self._at_work.pop(proposal.number, None)
            self.view.given_back(proposal.number, message)
        return True
