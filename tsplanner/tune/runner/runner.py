"""Runs the trials of a study in all slots of this process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from tsplanner.planner.settings import LearningSettings
from tsplanner.probe.runner import Server
from tsplanner.tune.runner.events import SearchListener
from tsplanner.tune.runner.feasible import Feasible
from tsplanner.tune.runner.monitor import TrialMonitor
from tsplanner.tune.runner.multi_lora import MultiLora
from tsplanner.tune.runner.multi_lora_slot import MultiLoraSlot
from tsplanner.tune.runner.slots import Slots
from tsplanner.tune.runner.source import StudySource
from tsplanner.tune.runner.trial_runner import Cancelled, TrialRunner
from tsplanner.tune.study.access import StorageGone
from tsplanner.tune.study.study import Study

WAIT_SECONDS = 0.2
"""Length of one wait for the slots, so that Ctrl-C is seen at once."""


class Search:
    """Runs trials of the search by number, and trials of the confirmation by their settings."""

    def __init__(
        self,
        study: Study,
        feasible: Feasible,
        folder: Path,
        *,
        slots: Slots,
        server: Server | None,
        listeners: Sequence[SearchListener],
        multi_lora: MultiLora | None = None,
    ) -> None:
        """``folder`` takes one folder per trial; ``multi_lora`` None: each trial has a process."""
        self.study, self.folder, self.slots, self.multi_lora = study, folder, slots, multi_lora
        self.cancelled = threading.Event()
        self.monitor = TrialMonitor(study, folder, listeners)
        self.source = StudySource(study, feasible, self.monitor, self.cancelled)
        self.runner = TrialRunner(
            self.monitor, slots=slots, server=server, cancelled=self.cancelled
        )

    @property
    def max_concurrent_trials(self) -> int:
        """Largest number of trials that run side by side."""
        per_slot = 1 if self.multi_lora is None else self.multi_lora.max_concurrent_trials
        return self.slots.jobs * per_slot

    def run(self, trials: int) -> None:
        """Start ``trials`` trials of the search and wait for them.

        KeyboardInterrupt ends the children and is raised on; their trials stay in the study as
        running, and a resumed search queues them again. Raises TsplannerError if the baseline
        itself cannot be trained.
        """
        self.study.workers.want(trials)
        if trials > 0:
            self._work(trials)

    def run_again(self, wanted: list[tuple[LearningSettings, int]]) -> None:
        """Run settings on fresh seeds, to the end; raises as `run` does."""
        self.study.enqueue(wanted)
        if wanted:
            self._work(len(wanted))

    def help(self) -> None:
        """Run trials of a search that another process leads, until it wants none; raises as
        `run`.
        """
        self.source.helps = self.monitor.is_unproven = True
        self._work(self.max_concurrent_trials)

    def _work(self, trials: int) -> None:
        """Keep all slots busy until no trial is left; slots share ``trials`` evenly."""
        per_slot = -(-trials // self.slots.jobs)
        with ThreadPoolExecutor(self.slots.jobs, thread_name_prefix="trial") as pool:
            futures = [
                pool.submit(self._run_slot, index, per_slot) for index in range(self.slots.jobs)
            ]
            try:
                pending = set(futures)
                while pending:
                    done, pending = wait(pending, WAIT_SECONDS, return_when=FIRST_EXCEPTION)
                    errors = [future.exception() for future in done]
                    # With the storage away the trials under way may still end well.
                    if any(one and not isinstance(one, StorageGone) for one in errors):
                        break
                if pending:
                    self._cancel()
            except BaseException:
                # On Ctrl-C as well: the polls of the slots see it and end their children.
                self._cancel()
                raise
        for future in futures:
            error = future.exception()
            # Cancelled only says that the error of another slot ended this one.
            if error is not None and not isinstance(error, Cancelled):
                raise error

    def _cancel(self) -> None:
        self.cancelled.set()
        # A slot may be waiting for a storage that is away.
        self.study.access.stop.set()

    def _run_slot(self, index: int, max_concurrent_trials: int) -> None:
        if self.multi_lora is not None:
            MultiLoraSlot(
                self.source, self.runner, self.multi_lora, index, max_concurrent_trials
            ).run()
        # Where sharing has shown not to work, the slot comes back with trials left to claim.
        while (trial := self.source.claim()) is not None:
            self.runner.run_alone(trial, index)
