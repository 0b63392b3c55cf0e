"""Runs the trials of a study, each in a process of its own, several at once where that pays."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Protocol

from tsplanner.errors import TsplannerError
from tsplanner.planner.plan import LearningSettings, Plan
from tsplanner.probe.runner import Server, request_stop, run_job
from tsplanner.training.job import DIVERGED, Job, JobKind, Record, Status
from tsplanner.tune.pruning import Behind, Course, hopeless
from tsplanner.tune.rows import Rows, read_marks
from tsplanner.tune.slots import Slots
from tsplanner.tune.study import Proposal, Result, Study
from tsplanner.tune.takes import StorageGone

WAIT_SECONDS = 0.2
IDLE_SECONDS = 1.0
"""Between two looks whether another worker has left a trial, or the leader has decided."""
EVALUATIONS = 3
"""Of a whole trial, about: ends of epochs, and thirds of a run of one."""

Feasible = Callable[[LearningSettings], tuple[int, Plan]]
"""Bytes over the free memory (0 or less fits), and the plan under these settings."""


class View(Protocol):
    """Where the search tells what happens. Called from several threads, one at a time."""

    def started(self, number: int, learning: LearningSettings) -> None:
        """A trial has begun."""

    def progressed(self, number: int, progress: float, eval_loss: float | None) -> None:
        """A trial is ``progress`` (0..1) through; its newest evaluation, if there was one."""

    def ended(self, result: Result) -> None:
        """A trial is over, here or in another process."""

    def given_back(self, number: int) -> None:
        """A trial ended by an accident and waits to be run again under another number."""


class Search:
    """Runs trials of the search by number, and those of the last word by their settings."""

    def __init__(
        self,
        study: Study,
        feasible: Feasible,
        folder: Path,
        *,
        slots: Slots,
        server: Server | None,
        view: View,
    ) -> None:
        """``folder`` takes one folder a trial."""
        self.study, self.feasible, self.folder = study, feasible, folder
        self.slots, self.server, self.view = slots, server, view
        self.cancelled = threading.Event()
        self._lock = threading.Lock()
        self._helps = False
        self._marks: dict[int, dict[int, Rows]] = {}
        """Held-out rows of the search's trials, by trial and optimizer step."""
        self._known: set[int] = set()
        """Trials that ended and that the view has been told of."""
        for result in study.results():
            self._recall(result)

    def run(self, trials: int) -> None:
        """Start ``trials`` trials of the search and wait for them.

        KeyboardInterrupt ends the children and is raised on; their trials stay in the journal as
        running, to be queued again by a resumed search. Raises TsplannerError if the default
        settings themselves cannot be trained.
        """
        self.study.want(trials)
        if trials > 0:
            self._work()

    def again(self, wanted: list[tuple[LearningSettings, int]]) -> None:
        """Run settings on fresh seeds, to the end; raises as `run`."""
        self.study.queue(wanted)
        if wanted:
            self._work()

    def help(self) -> None:
        """Run trials of a search that another process leads, until it wants no more; as `run`."""
        self._helps = True
        self._work()

    def _recall(self, result: Result) -> None:
        """Take a trial that ended in another process, or before, into account."""
        self._known.add(result.number)
        if result.seed is None and result.number not in self._marks:
            found = read_marks(self.folder / str(result.number))
            self._marks[result.number] = {step: rows for step, (_, rows) in found.items()}

    def _work(self) -> None:
        with ThreadPoolExecutor(self.slots.jobs, thread_name_prefix="trial") as pool:
            futures = [pool.submit(self._slot, index) for index in range(self.slots.jobs)]
            try:
                pending = set(futures)
                while pending:
                    # In slices, so that Ctrl-C is seen at once.
                    done, pending = wait(pending, WAIT_SECONDS, return_when=FIRST_EXCEPTION)
                    errors = [future.exception() for future in done]
                    # With the storage away the trials under way may still end well.
                    if any(one and not isinstance(one, StorageGone) for one in errors):
                        break
                if pending:
                    self._cancel()
            except BaseException:
                # Also on Ctrl-C: the slots' polls see it and end their children.
                self._cancel()
                raise
        for future in futures:
            error = future.exception()
            if error is not None and not isinstance(error, Cancelled):
                raise error

    def _cancel(self) -> None:
        self.cancelled.set()
        self.study.stop.set()

    def _slot(self, index: int) -> None:
        while (found := self._next()) is not None:
            self._trial(*found, index)

    def _next(self, *, wait: bool = True) -> tuple[Proposal, Plan] | None:
        """The next proposal that memory affords; None when there is none (left, if ``wait``)."""
        while not self.cancelled.is_set():
            with self._lock:
                proposal = self.study.take()
                self._see_others()
                if proposal is not None:
                    over, plan = self.feasible(proposal.learning)
                    self.study.set_memory(proposal, over)
                    if over <= 0:
                        self.view.started(proposal.number, proposal.learning)
                        return proposal, plan
            if proposal is not None:
                message = f"{over / 2**30:.2f} GiB over the free memory"
                self._end(proposal, "not started", None, message)
            elif not (wait and self._more_may_come()):
                return None
            else:
                self.cancelled.wait(IDLE_SECONDS)
        return None

    def _more_may_come(self) -> bool:
        """Whether another worker's trial may come back, or its leader may want another."""
        if not self._helps:
            return self.study.busy_elsewhere()
        return not self.study.over and (
            self.study.leader is not None or self.study.busy_elsewhere()
        )

    def _see_others(self) -> None:
        """Show and remember what ended in other processes."""
        for result in self.study.results():
            if result.number not in self._known:
                self._recall(result)
                self.view.ended(result)

    def _trial(self, proposal: Proposal, plan: Plan, slot: int) -> None:
        folder = self.folder / str(proposal.number)
        epochs = proposal.learning.num_train_epochs
        job = Job(
            kind=JobKind.TRIAL,
            plan=plan,
            folder=str(folder),
            evals_per_epoch=max(1, round(EVALUATIONS / epochs)),
            threads=self.slots.threads,
        )
        stopped: list[tuple[float, Behind]] = []

        def on_metrics(row: dict[str, Any]) -> None:
            progress = min(1.0, float(row.get("epoch") or 0.0) / epochs)
            eval_loss, step = row.get("eval_loss"), int(row.get("step") or 0)
            with self._lock:
                self.view.progressed(proposal.number, progress, eval_loss)
            if eval_loss is None or not step:
                return
            self.study.report(proposal, float(eval_loss), step)
            behind = None if stopped else self._judged(proposal, step, progress, folder)
            if behind is not None:
                stopped.append((float(row["epoch"]), behind))
                request_stop(folder)

        record = run_job(
            job,
            time_limit_seconds=None,
            on_metrics=on_metrics,
            server=self.server,
            check=self._check,
            environment=self.slots.environment(slot),
        )
        self._judge(proposal, record, stopped)

    def _judged(
        self, proposal: Proposal, step: int, progress: float, folder: Path
    ) -> Behind | None:
        """How far behind a trial is that should stop now; the default and the last word never."""
        if proposal.seed is not None:
            return None
        rows = read_marks(folder).get(step, (0.0, []))[1]
        final = {one.number: one.eval_loss for one in self.study.results() if one.state == "done"}
        with self._lock:
            self._marks.setdefault(proposal.number, {})[step] = rows
            if proposal.learning == self.study.where.default:
                return None
            rivals = {
                number: Course(marks=dict(marks), final=final.get(number))
                for number, marks in self._marks.items()
                if number != proposal.number
            }
        return hopeless(step, progress, rows, rivals)

    def _check(self) -> None:
        if self.cancelled.is_set():
            raise Cancelled

    def _judge(
        self, proposal: Proposal, record: Record, stopped: list[tuple[float, Behind]]
    ) -> None:
        """Tell the study how a trial ended."""
        losses = [evaluation.loss for evaluation in record.evaluations]
        best = min(losses, default=None)
        if record.status is Status.OK and best is not None and math.isfinite(best):
            self._end(proposal, "done", best, "")
        elif stopped and record.status is Status.STOPPED:
            epoch, behind = stopped[0]
            message = (
                f"stopped at epoch {epoch:.2g}: {behind.difference:+.4f} ± {behind.error:.4f} "
                f"against trial {behind.rival} there"
            )
            self._end(proposal, "stopped", best, message, behind)
        elif f"{DIVERGED}: " in record.message:  # of several ranks, behind the rank's number
            self._end(proposal, "failed", None, record.message)
        elif record.status is Status.OK:
            raise TsplannerError(
                "The trials need held-out rows to be compared by: plan with --validation-fraction "
                "above 0 and at least two rows."
            )
        elif was_killed(record) and self.study.give_back(proposal):
            with self._lock:
                self.view.given_back(proposal.number)
        else:
            self._end(proposal, "failed", None, f"{record.status}: {record.message}")
            if proposal.seed is None and proposal.learning == self.study.where.default:
                raise TsplannerError(f"The plan's own settings failed: {record.message}")

    def _end(
        self,
        proposal: Proposal,
        state: str,
        eval_loss: float | None,
        message: str,
        behind: Behind | None = None,
    ) -> None:
        result = Result(
            number=proposal.number,
            learning=proposal.learning,
            state=state,
            eval_loss=eval_loss,
            message=message,
            seed=proposal.seed,
            behind=None if behind is None else (behind.rival, behind.difference, behind.error),
        )
        with self._lock:
            self._known.add(proposal.number)
        self.study.tell(proposal, result)
        with self._lock:
            self.view.ended(result)


def was_killed(record: Record) -> bool:
    """Whether a worker was ended from outside, and not for memory: an accident, not the settings.

    A rank's number may stand before the words.
    """
    return record.status is Status.CRASHED and "was ended by SIGKILL" in record.message


class Cancelled(Exception):
    """The search was interrupted; raised inside the slots to end their children."""
