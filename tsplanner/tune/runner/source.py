"""Where the slots of a search get their trials from."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from memory_models.units import GIB
from tsplanner.tune.runner.feasible import Feasible
from tsplanner.tune.runner.monitor import RunningTrial, TrialMonitor
from tsplanner.tune.study.study import Proposal, Study
from tsplanner.tune.study.trial_result import TrialState

IDLE_SECONDS = 1.0
"""Time between two looks whether another worker left a trial, or the leader has decided."""


class TrialSource(Protocol):
    """Gives trials to a slot, and takes them back."""

    def claim(self, *, wait: bool = True) -> RunningTrial | None:
        """The next trial; None if there is none (with ``wait``: if there will be none)."""

    def release(self, proposal: Proposal, message: str) -> bool:
        """Queue a trial again that an accident ended; False if it has had its second chance."""


class StudySource:
    """The trials of a study that memory affords."""

    def __init__(
        self, study: Study, feasible: Feasible, monitor: TrialMonitor, cancelled: threading.Event
    ) -> None:
        """``cancelled`` ends the supply of trials."""
        self.study, self.feasible, self.monitor = study, feasible, monitor
        self.cancelled = cancelled
        self.helps = False
        """Another process leads the search, and this one helps."""
        self.before_claim: Callable[[], None] = lambda: None
        """Called before each claim; it may change how many trials the study wants."""

    def claim(self, *, wait: bool = True) -> RunningTrial | None:
        """The next trial that memory affords; None if there is none (``wait``: and will be
        none).
        """
        while not self.cancelled.is_set():
            with self.monitor.lock:
                self.before_claim()
                proposal = self.study.claim()
                self.monitor.see_others()
                over = 0
                if proposal is not None:
                    over, plan = self.feasible(proposal.learning)
                    self.study.set_memory(proposal, over)
                    if over <= 0:
                        return self.monitor.begin(proposal, plan)
            if proposal is not None:
                # The `with` has ended here, because `end` takes the monitor's
                # lock, which is not reentrant.
                message = f"{over / GIB:.2f} GiB over the free memory"
                self.monitor.end(proposal, TrialState.REJECTED, message)
            elif not (wait and self._more_may_come()):
                return None
            else:
                self.cancelled.wait(IDLE_SECONDS)
        return None

    def _more_may_come(self) -> bool:
        """Whether another worker's trial may come back, or its leader may want another."""
        if not self.helps:
            return self.study.busy_elsewhere()
        workers = self.study.workers
        return not workers.is_over and (workers.leader is not None or self.study.busy_elsewhere())

    def release(self, proposal: Proposal, message: str) -> bool:
        """Queue a trial again that an accident ended; False if it has had its second chance."""
        return self.monitor.release(proposal, message)
