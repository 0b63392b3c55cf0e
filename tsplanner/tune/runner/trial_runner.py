"""Runs trials in worker processes: each in its own, or several on one base."""

from __future__ import annotations

import threading
from typing import Any

from tsplanner.probe.multi_lora import MultiLoraRecords, OnRecord, OnTrial, run_multi_lora
from tsplanner.probe.runner import Server, run_job
from tsplanner.training.job import Job, JobKind, MultiLoraTrial, SharedTrials
from tsplanner.tune.runner.monitor import RunningTrial, TrialMonitor
from tsplanner.tune.runner.multi_lora import MultiLora
from tsplanner.tune.runner.slots import Slots

MULTI_LORA_FOLDER = "multi-lora"
"""In a run's folder: job and log of each worker whose trials share a base."""


class Cancelled(Exception):
    """The search was interrupted; raised inside the slots to end their children."""


class TrialRunner:
    """Starts workers in slots, and lets the monitor watch the trials."""

    def __init__(
        self,
        monitor: TrialMonitor,
        *,
        slots: Slots,
        server: Server | None,
        cancelled: threading.Event,
    ) -> None:
        """``server`` starts the workers (None: each starts cold)."""
        self.monitor, self.slots, self.server = monitor, slots, server
        self.cancelled = cancelled

    def run_alone(self, trial: RunningTrial, slot: int) -> None:
        """Run a trial in a process of its own, and tell how it ended."""
        job = Job(
            kind=JobKind.TRIAL,
            plan=trial.plan,
            folder=str(trial.folder),
            evals_per_epoch=trial.evals_per_epoch,
            threads=self.slots.threads,
        )

        def on_metrics(row: dict[str, Any]) -> None:
            self.monitor.see_metrics(trial, row)

        record = run_job(
            job,
            time_limit_seconds=None,
            on_metrics=on_metrics,
            server=self.server,
            check=self.check,
            environment=self.slots.environment(slot),
        )
        self.monitor.judge(trial, record)

    def shared_job(self, first: list[RunningTrial], multi_lora: MultiLora, together: int) -> Job:
        """The job of a worker that begins with these trials and takes more while it runs.

        At most ``together`` trials train at once.
        """
        number = first[0].proposal.number
        return Job(
            kind=JobKind.TRIAL,
            plan=multi_lora.plan,
            folder=str(self.monitor.folder.parent / MULTI_LORA_FOLDER / str(number)),
            threads=self.slots.threads,
            shared=SharedTrials(
                trials=tuple(trial_on_base(trial) for trial in first),
                max_concurrent_trials=together,
                open=True,
            ),
        )

    def run_shared(
        self, job: Job, slot: int, *, on_metrics: OnTrial, on_record: OnRecord
    ) -> MultiLoraRecords:
        """Run a worker of trials that share a base to its end."""
        return run_multi_lora(
            job,
            time_limit_seconds=None,
            on_metrics=on_metrics,
            on_record=on_record,
            server=self.server,
            check=self.check,
            environment=self.slots.environment(slot),
        )

    def check(self) -> None:
        """Raise Cancelled once the search was interrupted."""
        if self.cancelled.is_set():
            raise Cancelled


def trial_on_base(trial: RunningTrial) -> MultiLoraTrial:
    """A trial as a worker gets it that several trials share."""
    return MultiLoraTrial(
        learning=trial.proposal.learning,
        folder=str(trial.folder),
        evals_per_epoch=trial.evals_per_epoch,
    )
