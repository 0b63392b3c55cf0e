"""A slot whose trials share one base: a worker with an open queue, refilled as trials end."""

from __future__ import annotations

from pathlib import Path

from tsplanner.planner.multi_lora.refusal import SharingRefusal, sharing_refusal
from tsplanner.probe.calibration import note_shortage
from tsplanner.probe.multi_lora import MultiLoraRecords, clear_trial
from tsplanner.training.job import Job, Status
from tsplanner.training.multi_lora.queue import close, offer
from tsplanner.training.record import Record
from tsplanner.tune.runner.monitor import OUT_OF_MEMORY, RunningTrial
from tsplanner.tune.runner.multi_lora import MultiLora
from tsplanner.tune.runner.source import TrialSource
from tsplanner.tune.runner.trial_runner import TrialRunner, trial_on_base

ABOUT_TO_END = 0.97
"""Progress from which on a trial's result is worth waiting for before the next is claimed."""
ENDED_WELL = (Status.OK, Status.STOPPED)
MAX_DEATHS = 2
"""Workers of a slot that may die; the second takes half the trials, and then each runs alone."""


class MultiLoraSlot:
    """Runs trials on shared bases until none is left, or until sharing has shown not to work."""

    def __init__(
        self,
        source: TrialSource,
        runner: TrialRunner,
        multi_lora: MultiLora,
        slot: int,
        max_concurrent_trials: int,
    ) -> None:
        """``max_concurrent_trials`` limits this slot; the base's own limit holds as well."""
        self.source, self.runner, self.multi_lora, self.slot = source, runner, multi_lora, slot
        self.max_concurrent_trials = min(multi_lora.max_concurrent_trials, max_concurrent_trials)
        self._deaths = 0
        self._running: dict[str, RunningTrial] = {}
        """Trials at work or offered to the worker, by folder."""
        self._waiting: list[RunningTrial] = []
        """Claimed trials that had not begun when their worker died."""
        self._alone: list[RunningTrial] = []
        """Trials that cannot share the base."""
        self._unclear: list[tuple[RunningTrial, Record]] = []
        """Failed trials whose cause (own or worker crash) is not known until the worker exits."""
        self._closed = False

    def run(self) -> None:
        """Run one worker after another, and alone what cannot share a base."""
        while self.max_concurrent_trials > 1 and self._deaths < MAX_DEATHS:
            first = self._first_trials()
            if len(first) > 1:
                self._run_worker(first)
            elif first or self._alone:
                self._alone += first
            else:
                return
            self._run_alone(self._alone)
        self._run_alone(self._waiting)

    def _run_alone(self, trials: list[RunningTrial]) -> None:
        while trials:
            self.runner.run_alone(trials.pop(0), self.slot)

    def _first_trials(self) -> list[RunningTrial]:
        """Trials to fill the base, as far as there are any now; at least one if any is left."""
        found: list[RunningTrial] = []
        while len(found) < self.max_concurrent_trials:
            # A slot waits only where it has nothing to run meanwhile, neither shared nor alone.
            trial = self._next(wait=not found and not self._alone)
            if trial is None:
                break
            found.append(trial)
        return found

    def _next(self, *, wait: bool = False) -> RunningTrial | None:
        """The next trial that may share the base; the others are put aside."""
        while True:
            trial = self._waiting.pop(0) if self._waiting else self.source.claim(wait=wait)
            if trial is None:
                return None
            if self._refusal(trial) is None:
                return trial
            self._alone.append(trial)

    def _refusal(self, trial: RunningTrial) -> SharingRefusal | None:
        plan = self.multi_lora.plan
        return sharing_refusal(trial.proposal.learning, plan.hardware, plan.model.config)

    def _run_worker(self, first: list[RunningTrial]) -> None:
        """Run one worker from its start to its end."""
        self._running = {str(trial.folder): trial for trial in first}
        self._closed = False
        job = self.runner.shared_job(first, self.multi_lora, self.max_concurrent_trials)
        records = self.runner.run_shared(
            job,
            self.slot,
            on_metrics=self._see_metrics,
            on_record=lambda folder, record: self._trial_ended(job, folder, record),
        )
        self._worker_ended(records)

    def _see_metrics(self, folder: str, row: dict[str, object]) -> None:
        if (trial := self._running.get(folder)) is not None:
            self.runner.monitor.see_metrics(trial, row)

    def _trial_ended(self, job: Job, folder: str, record: Record) -> None:
        """Tell the study of a trial's record, and give the free place to the next trial."""
        trial = self._running.pop(folder, None)
        if trial is None:
            return
        if record.status in ENDED_WELL or record.status is Status.DIVERGED:
            self.runner.monitor.judge(trial, record)
        else:
            self._unclear.append((trial, record))
        self._refill(job)

    def _refill(self, job: Job) -> None:
        """Offer trials to the worker for its free places, unless results are about to come in."""
        if self._closed:
            return
        if any(trial.progress >= ABOUT_TO_END for trial in self._running.values()):
            return  # the next trial is claimed once their losses are known, too
        # After an out-of-memory this worker gets no further trial; the next
        # worker gets half as many.
        while not self._ran_out() and len(self._running) < self.max_concurrent_trials:
            trial = self._next()
            if trial is None:
                break
            offered = trial_on_base(trial)
            # The folder is cleared before the offer, because the worker may
            # write there right after it.
            clear_trial(offered)
            self._running[offered.folder] = trial
            offer(Path(job.folder), trial.proposal.number, offered)
        if len(self._running) < self.max_concurrent_trials:
            self._closed = True
            # A worker never ends while its queue is open.
            close(Path(job.folder))

    def _ran_out(self) -> bool:
        return any(record.status in OUT_OF_MEMORY for _, record in self._unclear)

    def _worker_ended(self, records: MultiLoraRecords) -> None:
        """Give what the worker had at work another chance, once."""
        worker = records.worker
        died = worker.status not in ENDED_WELL
        if died or self._ran_out():
            self._deaths += 1
            cannot = worker.status is Status.CANNOT_SHARE
            self.max_concurrent_trials = 1 if cannot else max(1, self.max_concurrent_trials // 2)
        if worker.status in OUT_OF_MEMORY:
            note_shortage(self.multi_lora.plan, worker)
        unclear, self._unclear = self._unclear, []
        for folder, trial in self._running.items():
            record = records.trials.get(folder)
            if record is None:
                self._waiting.append(trial)  # the trial never began
            else:
                unclear.append((trial, record))
        self._running = {}
        for trial, record in unclear:
            self._judge_unclear(trial, record, worker if died else record)

    def _judge_unclear(self, trial: RunningTrial, record: Record, cause: Record) -> None:
        """Run alone what cannot share; try again what an accident ended; judge the others."""
        if record.status is Status.CANNOT_SHARE:
            self._alone.append(trial)
            return
        accident = cause is not record or record.status in OUT_OF_MEMORY
        if cause.status in OUT_OF_MEMORY:
            self.runner.monitor.ran_out(trial, cause, self.multi_lora.plan)
        words = f"its worker ended: {cause.status}: {cause.message}"
        if accident and self.source.release(trial.proposal, words):
            return
        self.runner.monitor.judge(trial, record)
