"""One slot of a search that packs: a worker whose queue stays open, refilled as trials end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tsplanner.planner.multi_lora.refusal import SharingRefusal, sharing_refusal
from tsplanner.probe.calibration import note_shortage
from tsplanner.probe.multi_lora import PackRecords, clear_trial, run_pack
from tsplanner.training.job import Job, JobKind, PackedTrial, Record, Status
from tsplanner.training.multi_lora.queue import close, offer
from tsplanner.tune.runner.monitor import OUT_OF_MEMORY, Running
from tsplanner.tune.runner.multi_lora import Packs

if TYPE_CHECKING:
    from tsplanner.tune.runner.runner import Search

PACKS_FOLDER = "packs"
ABOUT_TO_END = 0.97
"""Progress from which on a trial's result is worth waiting for before the next is asked for."""
ENDED = (Status.OK, Status.STOPPED)
PACKS = 2
"""Packs of a slot that may die: the second has half the places, and after it trials run alone."""


class PackSlot:
    """Runs trials in packs until none is left to take, or packs have shown not to work here."""

    def __init__(self, search: Search, packs: Packs, slot: int, places: int) -> None:
        self.search, self.packs, self.slot = search, packs, slot
        self.places = min(packs.places, places)
        self._died = 0
        self._running: dict[str, Running] = {}
        self._waiting: list[Running] = []
        """Taken, and not begun when a pack died."""
        self._alone: list[Running] = []
        """Refused by the pack."""
        self._ill: list[tuple[Running, Record]] = []
        """Ended by themselves or with their pack: that is known once the pack is over."""
        self._closed = False

    def run(self) -> None:
        """Run packs one after the other, then what they refused."""
        while self.places > 1 and self._died < PACKS:
            first = self._first()
            if len(first) > 1:
                self._pack(first)
            elif first or self._alone:
                self._alone += first
            else:
                return
            self._run_alone(self._alone)
        self._run_alone(self._waiting)

    def _run_alone(self, trials: list[Running]) -> None:
        while trials:
            self.search.run_alone(trials.pop(0), self.slot)

    def _first(self) -> list[Running]:
        """As many trials as there are places and can be had now; at least one if any is left."""
        found: list[Running] = []
        while len(found) < self.places:
            trial = self._next(wait=not found and not self._alone)
            if trial is None:
                break
            found.append(trial)
        return found

    def _next(self, *, wait: bool = False) -> Running | None:
        """The next trial that may be packed; those that may not are put aside."""
        while True:
            trial = self._waiting.pop(0) if self._waiting else self.search.take(wait=wait)
            if trial is None:
                return None
            if self._refusal(trial) is None:
                return trial
            self._alone.append(trial)

    def _refusal(self, trial: Running) -> SharingRefusal | None:
        plan = self.packs.plan
        return sharing_refusal(trial.proposal.learning, plan.hardware, plan.model.config)

    def _pack(self, first: list[Running]) -> None:
        """One worker from its start to its end."""
        self._running = {str(trial.folder): trial for trial in first}
        self._closed = False
        number = first[0].proposal.number
        job = Job(
            kind=JobKind.TRIAL,
            plan=self.packs.plan,
            folder=str(self.search.folder.parent / PACKS_FOLDER / str(number)),
            threads=self.search.slots.threads,
            packed=tuple(packed(trial) for trial in first),
            packed_together=self.places,
            packed_open=True,
        )
        records = run_pack(
            job,
            time_limit_seconds=None,
            on_metrics=self._row,
            on_record=lambda folder, record: self._ended(job, folder, record),
            server=self.search.server,
            check=self.search.check,
            environment=self.search.slots.environment(self.slot),
        )
        self._over(records)

    def _row(self, folder: str, row: dict[str, object]) -> None:
        if (trial := self._running.get(folder)) is not None:
            self.search.referee.row(trial, row)

    def _ended(self, job: Job, folder: str, record: Record) -> None:
        """A trial's record is there: tell the study and give its place to the next."""
        trial = self._running.pop(folder, None)
        if trial is None:
            return
        if record.status in ENDED or record.status is Status.DIVERGED:
            self.search.referee.judge(trial, record)
        else:
            self._ill.append((trial, record))
        self._refill(job)

    def _refill(self, job: Job) -> None:
        """Offer trials for the places that are free, unless results are about to come in."""
        if self._closed:
            return
        if any(trial.progress >= ABOUT_TO_END for trial in self._running.values()):
            return  # the next trial is asked for once their losses are known, too
        ill = any(record.status in OUT_OF_MEMORY for _, record in self._ill)
        while not ill and len(self._running) < self.places:
            trial = self._next()
            if trial is None:
                break
            offered = packed(trial)
            clear_trial(offered)
            self._running[offered.folder] = trial
            offer(Path(job.folder), trial.proposal.number, offered)
        if len(self._running) < self.places:
            self._closed = True
            close(Path(job.folder))

    def _over(self, records: PackRecords) -> None:
        """The worker is gone: what it had at work gets another chance, once."""
        pack = records.pack
        died = pack.status not in ENDED
        if died or any(record.status in OUT_OF_MEMORY for _, record in self._ill):
            self._died += 1
            self.places = 1 if pack.status is Status.CANNOT_SHARE else max(1, self.places // 2)
        if pack.status in OUT_OF_MEMORY:
            note_shortage(self.packs.plan, pack)
        ill, self._ill = self._ill, []
        for folder, trial in self._running.items():
            record = records.trials.get(folder)
            if record is None:
                self._waiting.append(trial)  # never began
            else:
                ill.append((trial, record))
        self._running = {}
        for trial, record in ill:
            self._judge_ill(trial, record, pack if died else record)

    def _judge_ill(self, trial: Running, record: Record, cause: Record) -> None:
        """Run alone what does not pack; try again what an accident ended; tell the others."""
        if record.status is Status.CANNOT_SHARE:
            self._alone.append(trial)
            return
        accident = cause is not record or record.status in OUT_OF_MEMORY
        if cause.status in OUT_OF_MEMORY:
            self.search.referee.ran_out(trial, cause, self.packs.plan)
        words = f"its pack ended: {cause.status}: {cause.message}"
        if accident and self.search.referee.give_back(trial.proposal, words):
            return
        self.search.referee.judge(trial, record)


def packed(trial: Running) -> PackedTrial:
    """A trial as a pack's worker gets it."""
    return PackedTrial(
        learning=trial.proposal.learning,
        folder=str(trial.folder),
        evals_per_epoch=trial.evals_per_epoch,
    )
