"""Runs the trials of a study: each in a process of its own, or several packed on one base."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from tsplanner.planner.plan import LearningSettings, Plan
from tsplanner.probe.runner import Server, run_job
from tsplanner.training.job import Job, JobKind
from tsplanner.tune.runner.monitor import Referee, Running, View
from tsplanner.tune.runner.multi_lora import Packs
from tsplanner.tune.runner.multi_lora_slot import PackSlot
from tsplanner.tune.runner.slots import Slots
from tsplanner.tune.study.queue import StorageGone
from tsplanner.tune.study.study import Study
from tsplanner.tune.study.trial_result import TrialState

WAIT_SECONDS = 0.2
IDLE_SECONDS = 1.0
"""Between two looks whether another worker has left a trial, or the leader has decided."""
Feasible = Callable[[LearningSettings], tuple[int, Plan]]
"""Bytes over the free memory (0 or less fits), and the plan under these settings."""


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
        packs: Packs | None = None,
    ) -> None:
        """``folder`` takes one folder a trial; ``packs``: how trials share a base; None: not."""
        self.study, self.feasible, self.folder = study, feasible, folder
        self.slots, self.server, self.packs = slots, server, packs
        self.referee = Referee(study, folder, view)
        self.cancelled = threading.Event()
        self.rethink: Callable[[], None] = lambda: None
        """Called before each trial is taken: may change how many the study wants."""
        self._helps = False

    @property
    def at_once(self) -> int:
        """Trials that run beside each other."""
        return self.slots.jobs * (1 if self.packs is None else self.packs.places)

    def run(self, trials: int) -> None:
        """Start ``trials`` trials of the search and wait for them.

        KeyboardInterrupt ends the children and is raised on; their trials stay in the journal as
        running, to be queued again by a resumed search. Raises TsplannerError if the default
        settings themselves cannot be trained.
        """
        self.study.want(trials)
        if trials > 0:
            self._work(trials)

    def again(self, wanted: list[tuple[LearningSettings, int]]) -> None:
        """Run settings on fresh seeds, to the end; raises as `run`."""
        self.study.queue(wanted)
        if wanted:
            self._work(len(wanted))

    def help(self) -> None:
        """Run trials of a search that another process leads, until it wants no more; as `run`."""
        self._helps = self.referee.doubtful = True
        self._work(self.at_once)

    def _work(self, trials: int) -> None:
        """Keep all slots busy until no trial is left; packs share ``trials`` evenly."""
        places = -(-trials // self.slots.jobs)
        with ThreadPoolExecutor(self.slots.jobs, thread_name_prefix="trial") as pool:
            futures = [pool.submit(self._slot, index, places) for index in range(self.slots.jobs)]
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

    def _slot(self, index: int, places: int) -> None:
        if self.packs is not None:
            PackSlot(self, self.packs, index, places).run()
        while (found := self.take()) is not None:
            self.run_alone(found, index)

    def take(self, *, wait: bool = True) -> Running | None:
        """The next proposal that memory affords; None when there is none (left, if ``wait``)."""
        referee = self.referee
        while not self.cancelled.is_set():
            with referee.lock:
                self.rethink()
                proposal = self.study.take()
                referee.see_others()
                if proposal is not None:
                    over, plan = self.feasible(proposal.learning)
                    self.study.set_memory(proposal, over)
                    if over <= 0:
                        referee.view.started(proposal.number, proposal.learning)
                        return referee.running(proposal, plan)
            if proposal is not None:
                message = f"{over / 2**30:.2f} GiB over the free memory"
                referee.end(proposal, TrialState.REJECTED, None, message)
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

    def run_alone(self, trial: Running, slot: int) -> None:
        """Run a trial in a process of its own and tell how it ended."""
        job = Job(
            kind=JobKind.TRIAL,
            plan=trial.plan,
            folder=str(trial.folder),
            evals_per_epoch=trial.evals_per_epoch,
            threads=self.slots.threads,
        )

        def on_metrics(row: dict[str, Any]) -> None:
            self.referee.row(trial, row)

        record = run_job(
            job,
            time_limit_seconds=None,
            on_metrics=on_metrics,
            server=self.server,
            check=self.check,
            environment=self.slots.environment(slot),
        )
        self.referee.judge(trial, record)

    def check(self) -> None:
        """Raise Cancelled once the search was interrupted."""
        if self.cancelled.is_set():
            raise Cancelled


class Cancelled(Exception):
    """The search was interrupted; raised inside the slots to end their children."""
