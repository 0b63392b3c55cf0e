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

ASKS_PER_TRIAL = 4
"""Proposals that memory may refuse, for each trial that is wanted, before the search gives up."""
WAIT_SECONDS = 0.2
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
        """A trial is over."""


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
        self._left = 0
        self._asks_left = 0
        self._again: list[tuple[LearningSettings, int]] = []
        self._marks: dict[int, dict[int, Rows]] = {}
        """Held-out rows of the search's trials, by trial and optimizer step."""
        for result in study.results():
            if result.seed is None:
                found = read_marks(folder / str(result.number))
                self._marks[result.number] = {step: rows for step, (_, rows) in found.items()}

    def run(self, trials: int) -> None:
        """Start ``trials`` trials of the search and wait for them.

        KeyboardInterrupt ends the children and is raised on; their trials stay in the journal as
        running, to be queued again by a resumed search. Raises TsplannerError if the default
        settings themselves cannot be trained.
        """
        self._left, self._asks_left = trials, ASKS_PER_TRIAL * trials
        if trials > 0:
            self._work()

    def again(self, wanted: list[tuple[LearningSettings, int]]) -> None:
        """Run settings on fresh seeds, to the end; raises as `run`."""
        self._again = list(wanted)
        if wanted:
            self._work()

    def _work(self) -> None:
        with ThreadPoolExecutor(self.slots.jobs, thread_name_prefix="trial") as pool:
            futures = [pool.submit(self._slot, index) for index in range(self.slots.jobs)]
            try:
                pending = set(futures)
                while pending:
                    # In slices, so that Ctrl-C is seen at once.
                    done, pending = wait(pending, WAIT_SECONDS, return_when=FIRST_EXCEPTION)
                    if any(future.exception() for future in done):
                        break
                if pending:
                    self.cancelled.set()
            except BaseException:
                # Also on Ctrl-C: the slots' polls see it and end their children.
                self.cancelled.set()
                raise
        for future in futures:
            error = future.exception()
            if error is not None and not isinstance(error, Cancelled):
                raise error

    def _slot(self, index: int) -> None:
        while (found := self._next()) is not None:
            self._trial(*found, index)

    def _next(self) -> tuple[Proposal, Plan] | None:
        """The next proposal that memory affords; None when enough have been started."""
        while True:
            with self._lock:
                if self.cancelled.is_set():
                    return None
                if self._again:
                    proposal = self.study.ask_again(*self._again.pop(0))
                elif self._left > 0 and self._asks_left > 0:
                    self._asks_left -= 1
                    proposal = self.study.ask()
                else:
                    return None
                over, plan = self.feasible(proposal.learning)
                self.study.set_memory(proposal, over)
                if over <= 0:
                    self._left -= proposal.seed is None
                    self.view.started(proposal.number, proposal.learning)
                    return proposal, plan
            message = f"{over / 2**30:.2f} GiB over the free memory"
            self._end(proposal, "not started", None, message)

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
        self.study.tell(proposal, result)
        with self._lock:
            self.view.ended(result)


class Cancelled(Exception):
    """The search was interrupted; raised inside the slots to end their children."""
