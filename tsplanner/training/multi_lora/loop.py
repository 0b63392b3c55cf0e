"""Several trials in one process over one frozen base: fill, pass, step, end, refill."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memory_models.settings import LossKernel, changed
from tsplanner.errors import TsplannerError
from tsplanner.planner.multi_lora.refusal import sharing_refusal
from tsplanner.training.base_model.configuration import DTYPES
from tsplanner.training.base_model.tokenizer import load_tokenizer
from tsplanner.training.batches import EncodedSample, pad_token_id
from tsplanner.training.job import Job, JobKind, MultiLoraTrial, SharedTrials, Status
from tsplanner.training.kernels.fused_loss import refuse_strange_heads
from tsplanner.training.memory import Unmetered
from tsplanner.training.multi_lora.base import SharedBase
from tsplanner.training.multi_lora.linears import TrialRows
from tsplanner.training.multi_lora.loss import MultiLoraLoss
from tsplanner.training.multi_lora.queue import Queue
from tsplanner.training.multi_lora.refused import CannotShareBaseError
from tsplanner.training.multi_lora.rows import MultiLoraRows
from tsplanner.training.multi_lora.trial import MicroBatch, TrialRun
from tsplanner.training.packing.setup import packed_evaluation
from tsplanner.training.pulse import Phase
from tsplanner.training.solo import trainer
from tsplanner.training.solo.recorder import Recorder
from tsplanner.training.worker.outcome import outcome_of

IDLE_SECONDS = 0.05
"""Time between two looks for a trial where none is at work and the queue is open."""


def trial_job(job: Job, trial: MultiLoraTrial) -> Job:
    """The job that this trial would be if it ran alone.

    The micro-batch stays that of the shared base; accumulation follows from the trial's own
    effective batch.
    """
    hardware, learning = job.plan.hardware, trial.learning
    steps = max(1, learning.optimization.effective_batch_size // hardware.batch.micro_batch_size)
    hardware = changed(hardware, gradient_accumulation_steps=steps)
    plan = replace(job.plan, learning=learning, hardware=hardware)
    evals = trial.evals_per_epoch or job.evals_per_epoch
    own = replace(job, plan=plan, folder=trial.folder, evals_per_epoch=evals)
    return replace(own, shared=None)


def max_concurrent_trials(job: Job) -> int:
    """Most trials of a job that train at once."""
    shared = job.shared or SharedTrials()
    return shared.max_concurrent_trials or max(1, len(shared.trials))


class MultiLoraLoop:
    """The trials at work on a base, and the trials that wait."""

    def __init__(self, job: Job, recorder: Recorder, stop: Callable[[], bool], base: Any) -> None:
        self.job, self.recorder, self.stop = job, recorder, stop
        hardware = job.plan.hardware
        fused = hardware.kernels.loss_kernel is LossKernel.FUSED
        if fused:
            refuse_strange_heads(base)
        self.shared = SharedBase(base, job.plan)
        tokenizer = None if job.kind is JobKind.PROBE else load_tokenizer(job.plan.model)
        self.data = MultiLoraRows(job.plan.model, tokenizer)
        self.loss = MultiLoraLoss(
            base,
            self.shared.layout,
            pad_id=0 if tokenizer is None else pad_token_id(tokenizer),
            fused=fused,
            autocast=None if hardware.base.autocast is None else DTYPES[hardware.base.autocast],
            positions_of=self.shared.positions_of if hardware.batch.is_packed else None,
        )
        self.queue = Queue(job)
        self.max_concurrent_trials = max_concurrent_trials(job)
        self.active: list[TrialRun] = []
        self._started = 0
        recorder.rows = 0

    def run(self) -> Status:
        """Train all trials to their ends; STOPPED if the worker as a whole was asked to end."""
        try:
            while not self.stop():
                self.recorder.pulse.beat()
                self._fill()
                if self.active:
                    self._pass()
                elif self.queue.ended:
                    return Status.OK
                else:
                    time.sleep(IDLE_SECONDS)
        except Exception as error:
            # The error gets into the records of the trials at work alone, not of those that wait.
            for trial in self.active:
                trial.recorder.finish(*outcome_of(error, trial.folder))
            raise
        for trial in list(self.active):
            self._end(trial, Status.STOPPED, "stopped on request")
        return Status.STOPPED

    def _fill(self) -> None:
        """Start trials that wait while there is room; a trial that cannot start leaves a record.

        The evaluation before the first step of a trial comes here, as in a run of its own.
        """
        while (
            len(self.active) < self.max_concurrent_trials
            and (waiting := self.queue.next()) is not None
        ):
            job = trial_job(self.job, waiting)
            Path(job.folder).mkdir(parents=True, exist_ok=True)
            recorder = Recorder(job, Unmetered())
            try:
                self._start(job, recorder)
            except TsplannerError as error:
                recorder.finish(*outcome_of(error, Path(job.folder)))

    def _start(self, job: Job, recorder: Recorder) -> None:
        plan = job.plan
        if refusal := sharing_refusal(plan.learning, plan.hardware, plan.model.config):
            raise CannotShareBaseError(refusal.sentence())
        recorder.device_name = self.recorder.device_name
        self._started += 1
        name = f"trial{self._started}"
        with self.recorder.pulse.during(Phase.LOAD):
            trial = TrialRun(name, job, self.data.rows(job), self.shared, recorder)
        self.active.append(trial)
        if trial.rows.validation:
            self._evaluate(trial)
        self._end_if_asked(trial)

    def _pass(self) -> None:
        """One micro-batch of every trial through the base, then the steps that are complete."""
        began = time.perf_counter()
        trials = list(self.active)
        batches = [trial.next() for trial in trials]
        losses = self.loss.losses(
            [batch.rows for batch in batches],
            [trial.name for trial in trials],
            [batch.items for batch in batches],
        )
        scaled = [trial.scaled(loss) for trial, loss in zip(trials, losses, strict=True)]
        # One backward of all losses goes through the shared base once.
        torch.autograd.backward(scaled)
        found: list[tuple[TrialRun, MicroBatch, tuple[Tensor, Tensor, float]]] = []
        for trial, batch, loss in zip(trials, batches, losses, strict=True):
            trial.note(loss)
            if batch.ends_step:
                found.append((trial, batch, trial.optimize()))
        self._log(found)
        trainer.synchronize()
        self.recorder.step_seconds.append(time.perf_counter() - began)
        self.recorder.rows = (self.recorder.rows or 0) + sum(len(batch.rows) for batch in batches)
        for trial, _, _ in found:
            self._after_step(trial)

    @staticmethod
    def _log(found: list[tuple[TrialRun, MicroBatch, tuple[Tensor, Tensor, float]]]) -> None:
        """Write the lines of the steps; all their values are fetched from the device at once."""
        if not found:
            return
        pairs = [torch.stack([loss.float(), norm.float()]) for _, _, (loss, norm, _) in found]
        values = torch.stack(pairs).tolist()
        for (trial, batch, (_, _, rate)), (loss, norm) in zip(found, values, strict=True):
            trial.logged(loss=loss, norm=norm, rate=rate, epoch=batch.epoch)

    def _after_step(self, trial: TrialRun) -> None:
        """End a trial that diverged, was asked to stop or is done; evaluate where it is due."""
        if not math.isfinite(trial.last_loss):
            diverged = trainer.diverged(trial.last_loss, trial.step)
            self._end(trial, *outcome_of(diverged, trial.folder))
            return
        if trial.step in trial.eval_steps:
            self._evaluate(trial)
        if self._end_if_asked(trial) or not trial.ended:
            return
        if self.job.kind is JobKind.TRAIN:
            with self.recorder.pulse.during(Phase.SAVE):
                trial.save_result()
        self._end(trial, Status.OK)

    def _evaluate(self, trial: TrialRun) -> None:
        pulse, held_out = self.recorder.pulse, trial.rows.validation
        with pulse.during(Phase.EVALUATE):
            trial.evaluated(self._row_losses(trial, held_out, pulse.beat))

    def _row_losses(
        self, trial: TrialRun, rows: Sequence[EncodedSample], after_each: Callable[[], None]
    ) -> list[tuple[float, int]]:
        """An evaluation passes no more rows at once than training, so it fits where that fits."""
        batch = self.job.plan.hardware.batch
        if batch.is_packed:
            evaluation = packed_evaluation(self.job.plan, self.data.config, self.loss.pad_id)
            evaluation.before = lambda part: self.shared.layout.give(
                TrialRows(trial.name, sum(len(row.series) for row in part))
            )
            return evaluation.row_losses(self.shared.base, rows, after_each)
        together = self.max_concurrent_trials * batch.micro_batch_size
        return self.loss.row_losses(rows, trial.name, together, after_each)

    def _end_if_asked(self, trial: TrialRun) -> bool:
        """Whether the stop file of a trial is there; the trial has ended then."""
        asked = (trial.folder / trainer.STOP_FILE).exists()
        if asked:
            self._end(trial, Status.STOPPED, "stopped on request")
        return asked

    def _end(self, trial: TrialRun, status: Status, message: str = "") -> None:
        """Take a trial off the base; its record is written last, so that a record means an end."""
        self.active.remove(trial)
        self.shared.remove(trial.name)
        trial.recorder.finish(status, message)
        del trial
        gc.collect()  # the allocator keeps what the trial held for the next one
