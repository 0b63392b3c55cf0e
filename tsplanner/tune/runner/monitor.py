"""Watches trials, and tells the study how they end, whether they run alone or share a base."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsplanner.console import command
from tsplanner.errors import TsplannerError
from tsplanner.planner.plan import Plan
from tsplanner.planner.steps import epochs_of
from tsplanner.probe.calibration import note_shortage
from tsplanner.probe.runner import request_stop
from tsplanner.training.job import Status
from tsplanner.training.record import Record
from tsplanner.tune.runner.events import SearchListener
from tsplanner.tune.search.early_stopping import Deficit, LearningCurve, losers
from tsplanner.tune.search.paired_eval import PerExampleLosses, read_eval_checkpoints
from tsplanner.tune.study.access import StorageGone
from tsplanner.tune.study.study import Proposal, Study
from tsplanner.tune.study.trial_result import Result, TrialState

EVALUATIONS = 3
"""Evaluations of a whole trial, about: at the ends of epochs, or at thirds of a run of one."""
OUT_OF_MEMORY = (Status.DEVICE_OOM, Status.HOST_OOM)


@dataclass(slots=True, kw_only=True)
class RunningTrial:
    """A trial under way."""

    proposal: Proposal
    plan: Plan
    """The plan of the trial when it runs alone."""
    folder: Path
    progress: float = 0.0
    """Share of the trial that is done, 0 to 1."""
    stopped: tuple[float, Deficit] | None = None
    """The epoch at which the trial was asked to stop, and why."""
    ran_out: bool = False
    """The trial ran out of memory, and the study knows."""

    @property
    def epochs(self) -> float:
        """Epochs of the whole trial."""
        return epochs_of(self.proposal.learning, self.plan.time.steps_per_epoch)

    @property
    def evals_per_epoch(self) -> int:
        """Evaluations of each epoch of the trial."""
        return max(1, round(EVALUATIONS / self.epochs))


class TrialMonitor:
    """Watches trials, prunes losers, and tells study and listeners how trials end."""

    def __init__(self, study: Study, folder: Path, listeners: Sequence[SearchListener]) -> None:
        """``folder`` has one folder per trial."""
        self.study, self.folder, self.listeners = study, folder, list(listeners)
        self.lock = threading.Lock()
        """Held while listeners are called, and while a trial is claimed."""
        self._checkpoints: dict[int, dict[int, PerExampleLosses]] = {}
        """Losses per held-out example of the search's trials, by trial and optimizer step."""
        self._at_work: dict[int, RunningTrial] = {}
        """Trials of the search under way in this process, from their first evaluation on."""
        self._known: set[int] = set()
        """Ended trials that the listeners know of."""
        self.is_unproven = False
        """True for a joined worker until its first successful trial: its environment may be bad."""
        for result in study.results():
            self._remember(result)

    def _remember(self, result: Result) -> None:
        """Take a trial into account that ended in another process, or before."""
        self._known.add(result.number)
        if result.seed is None and result.number not in self._checkpoints:
            found = read_eval_checkpoints(self.folder / str(result.number))
            self._checkpoints[result.number] = {step: rows for step, (_, rows) in found.items()}

    def see_others(self) -> None:
        """Report what ended in other processes. The caller holds the lock."""
        for result in self.study.results():
            if result.number not in self._known:
                self._remember(result)
                self._tell_ended(result)

    def _tell_ended(self, result: Result) -> None:
        for listener in self.listeners:
            listener.ended(result)

    def begin(self, proposal: Proposal, plan: Plan) -> RunningTrial:
        """Report a trial that is about to start. The caller holds the lock."""
        for listener in self.listeners:
            listener.started(proposal.number, proposal.learning)
        return RunningTrial(proposal=proposal, plan=plan, folder=self.folder / str(proposal.number))

    def see_metrics(self, trial: RunningTrial, row: dict[str, Any]) -> None:
        """Read one line of a trial's metrics.jsonl; a loser is asked to stop."""
        trial.progress = min(1.0, float(row.get("epoch") or 0.0) / trial.epochs)
        eval_loss, step = row.get("eval_loss"), int(row.get("step") or 0)
        with self.lock:
            for listener in self.listeners:
                listener.progressed(trial.proposal.number, trial.progress, eval_loss)
        if eval_loss is None or not step:
            return
        self.study.report(trial.proposal, float(eval_loss), step)
        if trial.proposal.seed is None:
            with suppress(StorageGone):  # no trial is judged meanwhile, and the trials go on
                self._stop_losers(trial, step)

    def _stop_losers(self, trial: RunningTrial, step: int) -> None:
        """Judge all trials at work by a new evaluation of one; the baseline never stops early."""
        losses = read_eval_checkpoints(trial.folder).get(step, (0.0, []))[1]
        # No line of metrics names the number of all steps, so it follows from step and progress.
        last = round(step / trial.progress)
        results = self.study.results()
        final = {one.number: one.eval_loss for one in results if one.state is TrialState.COMPLETED}
        with self.lock:
            self._checkpoints.setdefault(trial.proposal.number, {})[step] = losses
            self._at_work[trial.proposal.number] = trial
            curves = {
                number: LearningCurve(checkpoints=dict(own), final=final.get(number))
                for number, own in self._checkpoints.items()
            }
            # All trials at work are judged: the loser's own evaluation may have been read
            # before that of a better rival.
            may_stop = {number: one for number, one in self._at_work.items() if self._may_stop(one)}
            for number, deficit in losers(curves, may_stop, self._trials(), last).items():
                stopping = may_stop[number]
                stopping.stopped = deficit.step / last * stopping.epochs, deficit
                request_stop(stopping.folder)

    def _may_stop(self, trial: RunningTrial) -> bool:
        # The other trials and the confirmation are compared with a baseline that completed.
        return trial.stopped is None and trial.proposal.learning != self.study.encoding.baseline

    def _trials(self) -> int:
        """Number of trials that the search has, or will have."""
        return max(self.study.workers.wanted, len(self._checkpoints))

    def judge(self, trial: RunningTrial, record: Record) -> None:
        """Tell the study how a trial ended.

        Raises TsplannerError if the baseline itself cannot be trained, or if there are no held-out
        examples to compare by.
        """
        losses = [evaluation.loss for evaluation in record.losses.evaluations]
        best = min(losses, default=None)
        if record.status is Status.OK and best is not None and math.isfinite(best):
            self.end(trial.proposal, TrialState.COMPLETED, eval_loss=best)
        elif trial.stopped and record.status is Status.STOPPED:
            self._pruned(trial.proposal, best, *trial.stopped)
        elif record.status is Status.DIVERGED:
            self.end(trial.proposal, TrialState.FAILED, record.message, diverged=True)
        elif record.status is Status.OK:
            raise TsplannerError(
                "The trials need held-out rows to be compared by: plan with --validation-fraction "
                "above 0 and at least two rows."
            )
        else:
            self._failed(trial, record)

    def _pruned(
        self, proposal: Proposal, best: float | None, epoch: float, deficit: Deficit
    ) -> None:
        message = (
            f"stopped at epoch {epoch:.2g}: {deficit.difference:+.4f} ± {deficit.error:.4f} "
            f"against trial {deficit.rival} there"
        )
        self.end(proposal, TrialState.PRUNED, message, eval_loss=best, deficit=deficit)

    def _failed(self, trial: RunningTrial, record: Record) -> None:
        if record.status.is_from_outside:
            self._try_again(trial, record)
            return
        if self.is_unproven and self.release(trial.proposal, record.message):
            raise TsplannerError(
                f"The first trial that ended here failed, and is left to others: {record.message}"
            )
        if record.status in OUT_OF_MEMORY:
            note_shortage(trial.plan, record)
            self.ran_out(trial, record, trial.plan)
        self.end(trial.proposal, TrialState.FAILED, f"{record.status}: {record.message}")
        baseline = self.study.encoding.baseline
        if trial.proposal.seed is None and trial.proposal.learning == baseline:
            raise TsplannerError(f"The plan's own settings failed: {record.message}")

    def _try_again(self, trial: RunningTrial, record: Record) -> None:
        """Queue a trial again whose end says nothing of its settings.

        Raises TsplannerError where running it at once would end in the same way: it waits then for
        whoever goes on with the search.
        """
        # A full disk is still full for the next trial; anything else may pass.
        passes = record.status is not Status.NOT_WRITABLE
        if passes and self.release(trial.proposal, record.message):
            return
        self.release(trial.proposal, record.message, however_often=True)
        raise TsplannerError(
            f"Trial {trial.proposal.number} was ended from outside ({record.message.rstrip('.')}), "
            "which says nothing of its settings: it is queued again. Go on with  "
            + command("tune", "--run-folder", self.study.folder, "--resume")
        )

    def ran_out(self, trial: RunningTrial, record: Record, plan: Plan) -> None:
        """Let the study know of a real out-of-memory; ``plan`` is that of the worker."""
        # Where trials share a base, the slot has told the study already, with the worker's plan.
        if trial.ran_out:
            return
        trial.ran_out = True
        over = (record.memory.process_bytes or 0) - plan.memory.process_bytes.upper
        self.study.ran_out(trial.proposal, over)

    def end(
        self,
        proposal: Proposal,
        state: TrialState,
        message: str = "",
        *,
        eval_loss: float | None = None,
        deficit: Deficit | None = None,
        diverged: bool = False,
    ) -> None:
        """Record the end of a trial in the study, and report it."""
        result = Result(
            number=proposal.number,
            learning=proposal.learning,
            state=state,
            eval_loss=eval_loss,
            message=message,
            seed=proposal.seed,
            deficit=deficit,
            diverged=diverged,
        )
        if state in (TrialState.COMPLETED, TrialState.PRUNED):
            self.is_unproven = False
        with self.lock:
            # This precedes `tell`: another slot may read the study in between and would
            # report the trial a second time.
            self._known.add(proposal.number)
            self._at_work.pop(proposal.number, None)
        self.study.tell(proposal, result)
        with self.lock:
            self._tell_ended(result)

    def release(self, proposal: Proposal, message: str, *, however_often: bool = False) -> bool:
        """Queue a trial again that an accident ended; False if it has had its second chance."""
        if not self.study.release(proposal, however_often=however_often):
            return False
        with self.lock:
            self._at_work.pop(proposal.number, None)
            for listener in self.listeners:
                listener.released(proposal.number, message)
        return True
