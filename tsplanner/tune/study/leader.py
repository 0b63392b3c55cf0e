"""The workers of one study: which of them leads, and how many trials they run together."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from tsplanner.console import command
from tsplanner.errors import TsplannerError
from tsplanner.processes.tree import kill_tree
from tsplanner.tune.study.access import StudyAccess
from tsplanner.tune.study.queue import SEED, WORKER, TrialQueue, started, told_state
from tsplanner.tune.study.trial_result import TrialState

WANTED = "trials of the search"
"""Attribute of the study: number of trials of the search that all workers run together."""
LEADER = "leader"
"""Attribute of the study: the worker that decides in the end."""
OVER = "over"
"""Attribute of the study: the leader has decided, and wants no more trials."""
TOTAL = "trials"
"""Attribute of the study: number of trials of search and confirmation together."""
LEADER_CHECK_SECONDS = 1.0
"""Time between two looks at the heartbeat of a leader on another host."""


class WorkerPool:
    """Coordinates this process with the other workers of its study."""

    def __init__(self, access: StudyAccess, queue: TrialQueue, folder: Path) -> None:
        """``folder`` is the run's."""
        self._access, self._queue, self._folder = access, queue, folder
        self._study, self._registry = access.study, queue.registry

    @property
    def name(self) -> str:
        """This process as a worker: host and process id."""
        return self._registry.me.name

    @property
    def leader(self) -> str | None:
        """The worker that decides in the end; None if it is gone."""
        return self._access.locked(self._leader)

    def _leader(self) -> str | None:
        name = self._study.user_attrs.get(LEADER)
        return None if self._registry.is_gone(name) else str(name)

    def lead(self) -> int:
        """Lead the study, and queue again what was in flight with workers that are gone.

        Returns the number of trials that were queued again. Raises TsplannerError if another
        process leads the study.
        """
        self._await_leader()
        return self._access.locked(self._take_lead)

    def _await_leader(self) -> None:
        """Wait until a leader on another host is known to live, or to be gone."""
        first: int | None = None
        # This process has seen no heartbeat yet, so to it a leader on another host lives until that
        # leader has been silent for `gone_seconds`.
        while (name := self.leader) is not None:
            worker = self._access.locked(self._registry.workers)[name]
            if worker.host == self._registry.me.host or first not in (None, worker.heartbeat):
                return
            first = worker.heartbeat
            if self._access.stop.wait(LEADER_CHECK_SECONDS):
                return

    def _take_lead(self) -> int:
        self._registry.enter()
        leader, me = self._leader(), self.name
        if leader is not None and leader != me:
            raise TsplannerError(
                f"{leader} leads the search in {self._folder}: help it with  "
                f"{command('tune', '--join', self._folder)}, or end it first (on another machine "
                f"it counts as gone after {self._registry.gone_seconds:.0f} s without a sign)."
            )
        self._study.set_user_attr(LEADER, me)
        self._queue.on_lost = self._end_frozen
        # An earlier leader may have ended the search, and helpers leave as soon as they read that.
        self._study.set_user_attr(OVER, False)
        return self._queue.requeue_lost()

    def _end_frozen(self, name: str | None, number: int) -> None:
        """End a helper on this host that stands still and holds memory; its trial is run again."""
        worker = self._registry.frozen(name)
        if worker is None:
            return
        sys.stderr.write(
            f"{worker.name} gave no sign of life for {self._registry.gone_seconds:.0f} s and was "
            f"ended; its trial {number} waits to be run again.\n"
        )
        kill_tree(worker.pid, grace_seconds=0.0)

    @property
    def is_over(self) -> bool:
        """Whether the leader has decided, and wants no more trials."""
        return bool(self._access.locked(lambda: self._study.user_attrs.get(OVER)))

    def finish(self) -> None:
        """Note that the leader has decided, and end helpers on this host that cannot read it."""
        self._access.locked(lambda: self._study.set_user_attr(OVER, True))
        # A stopped helper without a trial delays nobody, so nobody has looked at it until now; the
        # memory that it holds may be what the full run needs.
        for worker in self._access.locked(self._registry.stopped):
            sys.stderr.write(
                f"{worker.name} was stopped by a signal and was ended: the search is over.\n"
            )
            kill_tree(worker.pid, grace_seconds=0.0)

    def leave(self) -> None:
        """Claim no more trials here, and leave what is in flight to the others. Never raises."""
        self._access.stop.set()
        self._registry.leave()

    def trials_run_here(self) -> list[int]:
        """Numbers of the trials that ended in this process."""
        return [
            trial.number
            for trial in self._access.locked(self._queue.trials)
            if trial.user_attrs.get(WORKER) == self.name
            and told_state(trial) is not None
            and trial.state.is_finished()
        ]

    def total(self, trials: int, *, given: bool) -> int:
        """Number of trials of search and confirmation: ``trials`` if ``given``, else as noted."""

        def note() -> int:
            known = self._study.user_attrs.get(TOTAL)
            if known is not None and not given:
                return int(known)
            self._study.set_user_attr(TOTAL, trials)
            return trials

        return self._access.locked(note)

    def want(self, trials: int) -> None:
        """Want ``trials`` more trials of the search than have ended, of all workers together."""

        def note() -> None:
            told = [
                trial
                for trial in self._queue.trials()
                if SEED not in trial.user_attrs
                and trial.state.is_finished()
                and told_state(trial) not in (None, TrialState.REJECTED)
            ]
            # A rejected trial cost nothing, and a finished one without a state was queued again as
            # a copy: neither uses up a wanted trial.
            self._study.set_user_attr(WANTED, len(told) + trials)

        self._access.locked(note)

    @property
    def wanted(self) -> int:
        """Number of trials of the search that are wanted of all workers together."""
        return int(self._access.locked(lambda: self._study.user_attrs.get(WANTED, 0)))

    def update_wanted(self, wanted: Callable[[int], int]) -> None:
        """Let the number of wanted trials follow from the number of started ones."""

        def note() -> None:
            number = wanted(len(started(self._queue.trials())))
            if number != self._study.user_attrs.get(WANTED):
                self._study.set_user_attr(WANTED, number)

        self._access.locked(note)
